#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "darkroom/v1/record.pb.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// The tenants of this server, in memory: what every call's is looked up in. Thread-safe.
class TenantDirectory {
 public:
  TenantDirectory() = default;
  // Of the configuration, and without any limit of their own.
  explicit TenantDirectory(const std::vector<std::string>& ids);

  // The tenant {id}, or null when it does not open this server: there is none, or it is being
  // deleted.
  std::shared_ptr<const v1::Tenant> Find(std::string_view id) const;
  bool Has(std::string_view id) const { return Find(id) != nullptr; }

  // What Find knows, from this moment on. One of the configuration stays as it is, whatever is put
  // under its name later.
  void PutConfigured(v1::Tenant tenant);
  void Put(const v1::TenantRecord& record);
  void Remove(const std::string& name);

  // As clients see them, by name, those included that are being deleted.
  std::vector<v1::Tenant> List(const std::string& after, int max) const;
  // NOT_FOUND (TENANT_NOT_FOUND).
  absl::StatusOr<v1::Tenant> Get(const std::string& name) const;
  bool IsConfigured(const std::string& name) const;

 private:
  mutable Mutex mutex_;
  // By name.
  absl::btree_map<std::string, std::shared_ptr<const v1::Tenant>> tenants_ ABSL_GUARDED_BY(mutex_);
};

// The tenant with what the record leaves out: its source, state and etag.
v1::Tenant ShownTenant(const v1::TenantRecord& record);

}  // namespace darkroom
