#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "darkroom/principal.h"
#include "darkroom/v1/record.pb.h"

namespace darkroom {

// The keys that open this server, in memory: what every call is checked against. Thread-safe.
class KeyRing {
 public:
  // `pepper`: kSecretBytes random bytes that only this server has; without them the store's hashes
  // cannot be tried.
  explicit KeyRing(std::string pepper);

  // Whose key `text` is. UNAUTHENTICATED (CREDENTIALS_INVALID), whatever is wrong with it; how long
  // that takes does not tell which.
  absl::StatusOr<Principal> Verify(std::string_view text, absl::Time now) const;

  // What Verify knows, from this moment on.
  void Put(const v1::ApiKeyRecord& record);
  void Remove(const std::string& name);

  // Keys as clients see them, by name, from the first after `after`; of one tenant
  // ("tenants/{tenant}") unless that is empty. At most `max`.
  std::vector<v1::ApiKey> List(const std::string& tenant, const std::string& after, int max,
                               absl::Time now) const;
  // NOT_FOUND (KEY_NOT_FOUND).
  absl::StatusOr<v1::ApiKey> Get(const std::string& name, absl::Time now) const;

  // The hash that a record keeps of a secret.
  std::string Hash(std::string_view id, std::string_view secret) const;

 private:
  const std::string pepper_;
  mutable Mutex mutex_;
  // By name. Ordered for List; a call's look-up among 65,536 is far below its hash.
  absl::btree_map<std::string, v1::ApiKeyRecord> records_ ABSL_GUARDED_BY(mutex_);
};

// The key with what depends on the time filled in.
v1::ApiKey KeyAt(const v1::ApiKeyRecord& record, absl::Time now);

// The one answer to any credential that is not good.
absl::Status CredentialsInvalid();

}  // namespace darkroom
