#include "config/tenants.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "base/resource_name.h"
#include "base/tenant_key.h"
#include "config/fields.h"
#include "config/limits.h"

namespace darkroom {
namespace {

absl::Status Invalid(const std::string& field, const std::string& problem,
                     const std::string& wanted) {
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_VALUE_INVALID",
               absl::StrCat(field, " is ", problem, "; it ", wanted))
      .Field(field, wanted);
}

std::string Shown(const std::string& text) {
  return absl::StrCat("\"", text.substr(0, kConfigShownBytesMax), "\"");
}

// The index of `given` among `names`; nothing given means the one at `otherwise`.
template <size_t N>
absl::StatusOr<size_t> Choose(const std::string& field, const std::string& given,
                              const std::array<std::string, N>& names, size_t otherwise) {
  if (given.empty()) return otherwise;
  const auto it = std::find(names.begin(), names.end(), given);
  if (it != names.end()) return static_cast<size_t>(it - names.begin());
  return Invalid(field, Shown(given),
                 absl::StrCat("must be one of ", absl::StrJoin(names, ", "), "; nearest: \"",
                              NearestNames(given, names, kConfigSuggestionsMax).front(), "\""));
}

// In the order of the enumerations.
const std::array<std::string, 3>& ServiceClasses() {
  static const auto& names = *new std::array<std::string, 3>{"guaranteed", "target", "best_effort"};
  return names;
}
const std::array<std::string, 3>& Isolations() {
  static const auto& names =
      *new std::array<std::string, 3>{"shared", "exclusive_batch", "dedicated"};
  return names;
}

absl::Status ResolveNumbers(const v1::TenantConfig& proto, const std::string& path,
                            Config::Tenant& tenant) {
  absl::Status status;
  const auto integer = [&](const IntegerField& field, const char* name, bool has, auto given,
                           auto& value) {
    if (!has) return;
    value = given;
    if (status.ok()) status = CheckRange(field, given, absl::StrCat(path, ".", name));
  };
  const auto real = [&](const RealField& field, const char* name, bool has, double given,
                        double& value) {
    if (!has) return;
    value = given;
    if (status.ok()) status = CheckRange(field, given, absl::StrCat(path, ".", name));
  };
  real(kTenantWeight, "weight", proto.has_weight(), proto.weight(), tenant.weight);
  integer(kDedicatedWorkers, "dedicated_workers", proto.has_dedicated_workers(),
          proto.dedicated_workers(), tenant.dedicated_workers);
  integer(kTenantGenerations, "generations_max", proto.has_generations_max(),
          proto.generations_max(), tenant.generations_max);
  integer(kTenantRunning, "running_max", proto.has_running_max(), proto.running_max(),
          tenant.running_max);
  real(kTenantRate, "generations_per_second", proto.has_generations_per_second(),
       proto.generations_per_second(), tenant.generations_per_second);
  integer(kTenantBurst, "generations_burst", proto.has_generations_burst(),
          proto.generations_burst(), tenant.generations_burst);
  integer(kTenantPixels, "pixels_max", proto.has_pixels_max(), proto.pixels_max(),
          tenant.pixels_max);
  integer(kTenantSteps, "steps_max", proto.has_steps_max(), proto.steps_max(), tenant.steps_max);
  integer(kTenantAssetBytes, "asset_bytes_max", proto.has_asset_bytes_max(),
          proto.asset_bytes_max(), tenant.asset_bytes_max);
  if (proto.has_budget_seconds()) {
    real(kTenantBudget, "budget_seconds", true, proto.budget_seconds(),
         tenant.budget_seconds.emplace());
  }
  if (!status.ok()) return status;
  if (proto.has_generations_burst() && !proto.has_generations_per_second()) {
    return Invalid(path + ".generations_burst", absl::StrCat(tenant.generations_burst),
                   "means nothing without generations_per_second; set that too");
  }
  return absl::OkStatus();
}

absl::StatusOr<Config::Tenant> ResolveTenant(const v1::TenantConfig& proto, const std::string& path,
                                             int32_t generations_max) {
  Config::Tenant tenant;
  tenant.name = proto.name();
  tenant.generations_max = generations_max;
  if (tenant.name.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "CONFIG_FIELD_MISSING",
                 absl::StrCat(path, ".name is not set; it tells whose calls are meant"))
        .Field(path + ".name", "it tells whose calls are meant");
  }
  if (!IsValidId(tenant.name) || tenant.name == kOwnTenant) {
    return Invalid(path + ".name", Shown(tenant.name),
                   "must be 1 to 63 characters of a-z, 0-9 and -, and not - alone");
  }
  const auto service_class =
      Choose(path + ".service_class", proto.service_class(), ServiceClasses(), 2);
  if (!service_class.ok()) return service_class.status();
  tenant.service_class = static_cast<Config::ServiceClass>(*service_class);
  const auto isolation = Choose(path + ".isolation", proto.isolation(), Isolations(), 0);
  if (!isolation.ok()) return isolation.status();
  tenant.isolation = static_cast<Config::Isolation>(*isolation);
  if (auto status = ResolveNumbers(proto, path, tenant); !status.ok()) return status;
  if (proto.models_size() > kTenantModelsMax) {
    return Invalid(path + ".models", absl::StrCat(proto.models_size(), " entries long"),
                   absl::StrCat("may have up to ", kTenantModelsMax));
  }
  tenant.models.assign(proto.models().begin(), proto.models().end());
  const bool dedicated = tenant.isolation == Config::Isolation::kDedicated;
  if (dedicated != (tenant.dedicated_workers > 0)) {
    return Invalid(path + ".dedicated_workers", absl::StrCat(tenant.dedicated_workers),
                   dedicated ? "must be 1 to 64 where isolation is dedicated; nearest: 1"
                             : "must be 0 where isolation is not dedicated; nearest: 0");
  }
  return tenant;
}

}  // namespace

absl::StatusOr<std::vector<Config::Tenant>> ResolveTenants(const v1::DaemonConfig& proto,
                                                           int32_t generations_max) {
  if (proto.tenants_size() > kConfigTenantsMax) {
    return Invalid("tenants", absl::StrCat(proto.tenants_size(), " entries long"),
                   absl::StrCat("may have up to ", kConfigTenantsMax));
  }
  std::vector<Config::Tenant> tenants;
  std::set<std::string> names;
  for (int i = 0; i < proto.tenants_size(); ++i) {
    const std::string path = absl::StrCat("tenants[", i, "]");
    auto tenant = ResolveTenant(proto.tenants(i), path, generations_max);
    if (!tenant.ok()) return tenant.status();
    if (!names.insert(tenant->name).second) {
      return Invalid(path + ".name", Shown(tenant->name),
                     "must be unlike every other tenant's; set another name");
    }
    tenants.push_back(*std::move(tenant));
  }
  if (!names.contains(kLocalTenant)) {
    Config::Tenant local;
    local.name = kLocalTenant;
    local.generations_max = generations_max;
    tenants.push_back(std::move(local));
  }
  return tenants;
}

absl::Status CheckTenantModels(const Config& config) {
  std::vector<std::string> served;
  for (const auto& model : config.models) served.push_back(model.name);
  for (size_t i = 0; i < config.tenants.size(); ++i) {
    const auto& models = config.tenants[i].models;
    for (size_t j = 0; j < models.size(); ++j) {
      if (std::find(served.begin(), served.end(), models[j]) != served.end()) continue;
      return Invalid(
          absl::StrCat("tenants[", i, "].models[", j, "]"), Shown(models[j]),
          absl::StrCat("must be the name of one of the models; nearest: \"",
                       NearestNames(models[j], served, kConfigSuggestionsMax).front(), "\""));
    }
  }
  return absl::OkStatus();
}

}  // namespace darkroom
