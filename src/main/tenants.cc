#include "main/tenants.h"

#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "store/tenant_rules.h"

namespace darkroom {
namespace {

v1::ServiceClass ClassOf(Config::ServiceClass service_class) {
  switch (service_class) {
    case Config::ServiceClass::kGuaranteed:
      return v1::SERVICE_CLASS_GUARANTEED;
    case Config::ServiceClass::kTarget:
      return v1::SERVICE_CLASS_TARGET;
    case Config::ServiceClass::kBestEffort:
      break;
  }
  return v1::SERVICE_CLASS_BEST_EFFORT;
}

v1::Tenant::Isolation IsolationOf(Config::Isolation isolation) {
  switch (isolation) {
    case Config::Isolation::kDedicated:
      return v1::Tenant::ISOLATION_DEDICATED;
    case Config::Isolation::kExclusiveBatch:
      return v1::Tenant::ISOLATION_EXCLUSIVE_BATCH;
    case Config::Isolation::kShared:
      break;
  }
  return v1::Tenant::ISOLATION_SHARED;
}

scheduler::ServiceClass PolicyClass(v1::ServiceClass service_class) {
  switch (service_class) {
    case v1::SERVICE_CLASS_GUARANTEED:
      return scheduler::ServiceClass::kGuaranteed;
    case v1::SERVICE_CLASS_TARGET:
      return scheduler::ServiceClass::kTarget;
    default:
      return scheduler::ServiceClass::kBestEffort;
  }
}

scheduler::Isolation PolicyIsolation(v1::Tenant::Isolation isolation) {
  switch (isolation) {
    case v1::Tenant::ISOLATION_DEDICATED:
      return scheduler::Isolation::kDedicated;
    case v1::Tenant::ISOLATION_EXCLUSIVE_BATCH:
      return scheduler::Isolation::kExclusiveBatch;
    default:
      return scheduler::Isolation::kShared;
  }
}

}  // namespace

v1::Tenant TenantOf(const Config::Tenant& given) {
  v1::Tenant tenant;
  tenant.set_name(absl::StrCat("tenants/", given.name));
  tenant.set_weight(given.weight);
  tenant.set_service_class(ClassOf(given.service_class));
  tenant.set_isolation(IsolationOf(given.isolation));
  tenant.set_dedicated_workers(given.dedicated_workers);
  for (const std::string& model : given.models) tenant.add_models(absl::StrCat("models/", model));
  v1::TenantQuotas& quotas = *tenant.mutable_quotas();
  quotas.set_generations_max(given.generations_max);
  if (given.running_max > 0) quotas.set_running_max(given.running_max);
  if (given.generations_per_second > 0) {
    quotas.set_generations_per_second(given.generations_per_second);
    quotas.set_generations_burst(given.generations_burst);
  }
  if (given.pixels_max > 0) quotas.set_pixels_max(given.pixels_max);
  if (given.steps_max > 0) quotas.set_steps_max(given.steps_max);
  if (given.asset_bytes_max > 0) quotas.set_asset_bytes_max(given.asset_bytes_max);
  if (given.budget_seconds) quotas.set_budget_seconds(*given.budget_seconds);
  return tenant;
}

engine::TenantPolicy PolicyOf(const v1::Tenant& tenant, const Config::Limits& limits) {
  const v1::TenantQuotas& quotas = tenant.quotas();
  engine::TenantPolicy policy;
  policy.name = TenantIdOf(tenant.name());
  if (tenant.has_weight()) policy.weight = tenant.weight();
  policy.service_class = PolicyClass(tenant.service_class());
  policy.isolation = PolicyIsolation(tenant.isolation());
  policy.dedicated_workers = tenant.dedicated_workers();
  policy.generations_max = quotas.has_generations_max() ? quotas.generations_max()
                                                        : limits.queued_generations_per_tenant;
  policy.running_max = quotas.running_max();
  policy.generations_per_second = quotas.generations_per_second();
  if (quotas.has_generations_burst()) policy.generations_burst = quotas.generations_burst();
  if (quotas.has_budget_seconds()) policy.budget_seconds = quotas.budget_seconds();
  return policy;
}

absl::StatusOr<int64_t> AssetQuotaOf(const TenantDirectory& directory, const Config::Limits& limits,
                                     const std::string& id) {
  const auto tenant = directory.Find(id);
  if (tenant == nullptr) return TenantMissing();
  return tenant->quotas().has_asset_bytes_max() ? tenant->quotas().asset_bytes_max()
                                                : limits.asset_bytes_per_tenant;
}

std::string DescribeTenants(const TenantDirectory& directory) {
  const auto tenants = directory.List("", std::numeric_limits<int>::max());
  if (tenants.size() == 1) return absl::StrCat("one tenant: ", TenantIdOf(tenants.front().name()));
  return absl::StrCat(tenants.size(), " tenants");
}

absl::Status FillDirectory(const Config& config, GenerationStore& store,
                           TenantDirectory& directory) {
  for (const auto& tenant : config.tenants) directory.PutConfigured(TenantOf(tenant));
  const auto records = store.tenants().AllTenants();
  if (!records.ok()) return records.status();
  for (const v1::TenantRecord& record : *records) {
    const std::string& name = record.tenant().name();
    if (directory.IsConfigured(name)) {
      spdlog::warn("{} was made over the API and is in the configuration file, which goes first",
                   name);
    }
    directory.Put(record);
  }
  return absl::OkStatus();
}

}  // namespace darkroom
