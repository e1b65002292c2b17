#pragma once

#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// What the gateway asks about API keys. Who may ask for which key is the gateway's to say.
// Thread-safe; no call blocks; a `done` runs exactly once and must not block.
class Keys {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(T) &&>;
  // Tells whether a caller may change the key; its error becomes the answer. Runs on the store
  // thread.
  using Check = absl::AnyInvocable<absl::Status(const v1::ApiKey&)>;

  struct NewText {
    v1::ApiKey key;
    std::string text;  // "drk_{id}_{secret}"
  };

  virtual ~Keys() = default;

  // `key`: tenant, role, title and expire_time, checked. Done when it is durable and opens the
  // server. RESOURCE_EXHAUSTED (KEYS_TOO_MANY).
  virtual void CreateKey(v1::ApiKey key, Done<absl::StatusOr<NewText>> done) = 0;
  // NOT_FOUND (KEY_NOT_FOUND); FAILED_PRECONDITION (KEY_ENDED) for one that is revoked or expired.
  virtual void RotateKey(const std::string& name, absl::Duration overlap, Check check,
                         Done<absl::StatusOr<NewText>> done) = 0;
  // Done when it is durable; the key opens nothing any more. NOT_FOUND (KEY_NOT_FOUND).
  virtual void RevokeKey(const std::string& name, Check check,
                         Done<absl::StatusOr<v1::ApiKey>> done) = 0;

  // From memory, on the caller's thread. NOT_FOUND (KEY_NOT_FOUND).
  virtual absl::StatusOr<v1::ApiKey> GetKey(const std::string& name) const = 0;
  // By name, from the first after `after`, of one tenant unless that is empty; at most `max`.
  virtual std::vector<v1::ApiKey> ListKeys(const std::string& tenant, const std::string& after,
                                           int max) const = 0;
};

}  // namespace darkroom
