#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "darkroom/v1/record.pb.h"

namespace darkroom {

// Durable API keys. Part of a GenerationStore, with its thread, its transactions and its way to
// break. What writes is called inside Transact. Keys are named "keys/{key}".
class KeyStore {
 public:
  virtual ~KeyStore() = default;

  // Records the key, or replaces the record of the same name.
  virtual absl::Status PutKey(const v1::ApiKeyRecord& record) = 0;
  // NOT_FOUND (KEY_NOT_FOUND).
  virtual absl::StatusOr<v1::ApiKeyRecord> GetKey(const std::string& name) = 0;
  // All, by name. Their number is bounded by who writes them (tenancy/limits.h).
  virtual absl::StatusOr<std::vector<v1::ApiKeyRecord>> AllKeys() = 0;
  // Of one tenant ("tenants/{tenant}"), or of the whole server when that is empty.
  virtual absl::StatusOr<int64_t> CountKeys(const std::string& tenant) = 0;
  // Removes all of one tenant's; their names.
  virtual absl::StatusOr<std::vector<std::string>> RemoveKeysOf(const std::string& tenant) = 0;
  // Removes keys that were revoked or expired before `before`; their names.
  virtual absl::StatusOr<std::vector<std::string>> PurgeKeys(absl::Time before) = 0;
};

}  // namespace darkroom
