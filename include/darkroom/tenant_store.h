#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/v1/record.pb.h"

namespace darkroom {

// Durable tenants, those that were made over the API. Part of a GenerationStore, with its thread,
// its transactions and its way to break. What writes is called inside Transact. Names are
// "tenants/{tenant}".
class TenantStore {
 public:
  virtual ~TenantStore() = default;

  // Records the tenant, or replaces the record of the same name.
  virtual absl::Status PutTenant(const v1::TenantRecord& record) = 0;
  // NOT_FOUND (TENANT_NOT_FOUND).
  virtual absl::StatusOr<v1::TenantRecord> GetTenant(const std::string& name) = 0;
  // The tenant that `request_id` made. NOT_FOUND (TENANT_NOT_FOUND).
  virtual absl::StatusOr<v1::TenantRecord> FindTenantRequest(const std::string& request_id) = 0;
  // All, by name. Their number is bounded by who writes them (tenancy/limits.h).
  virtual absl::StatusOr<std::vector<v1::TenantRecord>> AllTenants() = 0;
  virtual absl::StatusOr<int64_t> CountTenants() = 0;
  // Removes the record alone; OK when there is none.
  virtual absl::Status RemoveTenant(const std::string& name) = 0;

  // Generations of the tenant that wait or run.
  virtual absl::StatusOr<int64_t> CountUnfinished(const std::string& name) = 0;
  // Removes generations with their events, request ids and records of assets, up to `max` of each.
  // How many went: 0 when the tenant had none left. Bytes are the caller's to delete.
  virtual absl::StatusOr<int64_t> PurgeContent(const std::string& name, int max) = 0;
};

}  // namespace darkroom
