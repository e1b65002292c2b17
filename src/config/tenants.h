#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "config/config.h"
#include "darkroom/v1/config.pb.h"

namespace darkroom {

// The tenants of a configuration with their defaults, and the tenant "local" last where it is not
// among them. `generations_max`: of a tenant that names none. INVALID_ARGUMENT names the field:
// CONFIG_FIELD_MISSING, CONFIG_OUT_OF_RANGE, CONFIG_VALUE_INVALID (a name that another has, an
// unknown class or isolation level, a dedicated tenant without workers of its own).
absl::StatusOr<std::vector<Config::Tenant>> ResolveTenants(const v1::DaemonConfig& proto,
                                                           int32_t generations_max);

// INVALID_ARGUMENT (CONFIG_VALUE_INVALID) when a tenant has a model that there is not.
absl::Status CheckTenantModels(const Config& config);

}  // namespace darkroom
