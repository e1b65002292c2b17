#pragma once

#include "absl/status/statusor.h"
#include "config/config.h"
#include "darkroom/v1/config.pb.h"

namespace darkroom {

// How callers prove who they are, with every default. `config`: its tenants and listeners are
// resolved. INVALID_ARGUMENT names the field: CONFIG_FIELD_MISSING, CONFIG_VALUE_INVALID (an
// unknown role or tenant, an identity that occurs twice, nothing that a caller could prove with).
absl::StatusOr<Config::Authentication> ResolveAuthentication(const v1::DaemonConfig& proto,
                                                             const Config& config);

}  // namespace darkroom
