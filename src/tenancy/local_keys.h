#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "darkroom/keys.h"
#include "store/store_thread.h"
#include "tenancy/key_ring.h"

namespace darkroom {

// API keys on this daemon's store. A change is durable first, then in the ring, then answered.
class LocalKeys final : public Keys {
 public:
  // All must outlive it and everything that it has posted; `ring` has what the store has.
  LocalKeys(StoreThread& store, KeyRing& ring, const Clock& clock)
      : store_(store), ring_(ring), clock_(clock) {}

  void CreateKey(v1::ApiKey key, Done<absl::StatusOr<NewText>> done) override;
  void RotateKey(const std::string& name, absl::Duration overlap, Check check,
                 Done<absl::StatusOr<NewText>> done) override;
  void RevokeKey(const std::string& name, Check check,
                 Done<absl::StatusOr<v1::ApiKey>> done) override;
  absl::StatusOr<v1::ApiKey> GetKey(const std::string& name) const override;
  std::vector<v1::ApiKey> ListKeys(const std::string& tenant, const std::string& after,
                                   int max) const override;

 private:
  struct Change;
  // Runs `apply` on the store thread inside a transaction; what it leaves in the change is put into
  // the ring once it is durable, and answered.
  void Post(std::shared_ptr<Change> change, absl::AnyInvocable<absl::Status(KeyStore&)> apply,
            absl::AnyInvocable<void(absl::Status)> done);

  StoreThread& store_;
  KeyRing& ring_;
  const Clock& clock_;
};

}  // namespace darkroom
