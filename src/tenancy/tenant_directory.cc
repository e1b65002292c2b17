#include "tenancy/tenant_directory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "store/etag.h"
#include "store/tenant_rules.h"

namespace darkroom {

v1::Tenant ShownTenant(const v1::TenantRecord& record) {
  v1::Tenant tenant = record.tenant();
  tenant.set_source(v1::Tenant::SOURCE_API);
  tenant.set_state(record.has_delete_time() ? v1::Tenant::STATE_DELETING
                                            : v1::Tenant::STATE_ACTIVE);
  tenant.set_etag(Etag(CanonicalBytes(tenant)));
  return tenant;
}

TenantDirectory::TenantDirectory(const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    v1::Tenant tenant;
    tenant.set_name(absl::StrCat("tenants/", id));
    PutConfigured(std::move(tenant));
  }
}

std::shared_ptr<const v1::Tenant> TenantDirectory::Find(std::string_view id) const {
  std::string name(kTenantPrefix);
  name += id;
  MutexLock lock(mutex_);
  const auto it = tenants_.find(name);
  if (it == tenants_.end() || it->second->state() != v1::Tenant::STATE_ACTIVE) return nullptr;
  return it->second;
}

void TenantDirectory::PutConfigured(v1::Tenant tenant) {
  tenant.set_source(v1::Tenant::SOURCE_CONFIGURATION);
  tenant.set_state(v1::Tenant::STATE_ACTIVE);
  tenant.set_etag(Etag(CanonicalBytes(tenant)));
  MutexLock lock(mutex_);
  const std::string name = tenant.name();
  tenants_[name] = std::make_shared<const v1::Tenant>(std::move(tenant));
}

void TenantDirectory::Put(const v1::TenantRecord& record) {
  auto tenant = std::make_shared<const v1::Tenant>(ShownTenant(record));
  MutexLock lock(mutex_);
  auto& place = tenants_[tenant->name()];
  if (place != nullptr && place->source() == v1::Tenant::SOURCE_CONFIGURATION) return;
  place = std::move(tenant);
}

void TenantDirectory::Remove(const std::string& name) {
  MutexLock lock(mutex_);
  const auto it = tenants_.find(name);
  if (it == tenants_.end() || it->second->source() == v1::Tenant::SOURCE_CONFIGURATION) return;
  tenants_.erase(it);
}

std::vector<v1::Tenant> TenantDirectory::List(const std::string& after, int max) const {
  std::vector<v1::Tenant> tenants;
  MutexLock lock(mutex_);
  for (auto it = tenants_.upper_bound(after); it != tenants_.end(); ++it) {
    if (static_cast<int>(tenants.size()) >= max) break;
    tenants.push_back(*it->second);
  }
  return tenants;
}

absl::StatusOr<v1::Tenant> TenantDirectory::Get(const std::string& name) const {
  MutexLock lock(mutex_);
  const auto it = tenants_.find(name);
  if (it == tenants_.end()) return TenantMissing();
  return *it->second;
}

bool TenantDirectory::IsConfigured(const std::string& name) const {
  MutexLock lock(mutex_);
  const auto it = tenants_.find(name);
  return it != tenants_.end() && it->second->source() == v1::Tenant::SOURCE_CONFIGURATION;
}

}  // namespace darkroom
