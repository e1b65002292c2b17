#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "darkroom/tenants.h"
#include "store/store_thread.h"
#include "tenancy/key_ring.h"
#include "tenancy/tenant_directory.h"

namespace darkroom {

// Tenants on this daemon's store. A change is durable first, then in the directory, then told to
// the rest of the daemon, then answered.
//
// A deletion is several steps, each of which may be repeated: the record is marked and the keys go,
// in one transaction; what runs is stopped; bytes go; rows go, a bounded number a transaction; the
// record goes last. Until then the name is taken, so that no later tenant finds anything of it.
class LocalTenants final : public Tenants {
 public:
  // How the rest of the daemon follows. None may block.
  struct Followers {
    // A tenant is there, or is another than it was.
    std::function<void(const v1::Tenant&)> changed;
    // Ends all that the tenant {id} has waiting or running, takes nothing more from it, and calls
    // `done`.
    std::function<void(const std::string& id, Done<absl::Status> done)> stop;
    // Deletes the bytes of all its pictures.
    std::function<void(const std::string& id, Done<absl::Status> done)> delete_bytes;
  };

  // All must outlive it and everything that it has posted; `directory` has what the store has.
  LocalTenants(StoreThread& store, TenantDirectory& directory, KeyRing& ring, const Clock& clock,
               Followers followers)
      : store_(store),
        directory_(directory),
        ring_(ring),
        clock_(clock),
        followers_(std::move(followers)) {}

  // Goes on with deletions that an earlier start did not finish. Once, when the followers serve.
  void Resume();

  void CreateTenant(NewTenant create, Done<absl::StatusOr<v1::Tenant>> done) override;
  void UpdateTenant(const std::string& name, Edit edit, bool validate_only,
                    Done<absl::StatusOr<v1::Tenant>> done) override;
  void DeleteTenant(Deletion deletion, Done<absl::Status> done) override;
  absl::StatusOr<v1::Tenant> GetTenant(const std::string& name) const override {
    return directory_.Get(name);
  }
  std::vector<v1::Tenant> ListTenants(const std::string& after, int max) const override {
    return directory_.List(after, max);
  }

 private:
  struct Change;
  // Runs `apply` on the store thread inside a transaction. Once that is durable `done` gets what
  // `apply` said. `accepted`: a part of what was accepted before, which is not refused any more.
  void Post(absl::AnyInvocable<absl::Status(GenerationStore&)> apply, Done<absl::Status> done,
            bool accepted = false);
  void Stop(const std::string& name, Done<absl::Status> done);
  void PurgeRows(const std::string& name, Done<absl::Status> done);
  void ForgetKeys(const std::vector<std::string>& names);

  StoreThread& store_;
  TenantDirectory& directory_;
  KeyRing& ring_;
  const Clock& clock_;
  const Followers followers_;
};

}  // namespace darkroom
