#pragma once

#include "absl/status/statusor.h"
#include "config/config.h"
#include "darkroom/v1/config.pb.h"

namespace darkroom {

// Where to listen, with every default. INVALID_ARGUMENT names the field: CONFIG_VALUE_INVALID (no
// address and port; an address that others can reach, without TLS and authentication),
// CONFIG_FIELD_MISSING (half of a certificate and its key).
absl::StatusOr<Config::Listen> ResolveListen(const v1::DaemonConfig& proto);

}  // namespace darkroom
