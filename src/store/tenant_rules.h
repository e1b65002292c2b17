#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "base/error.h"

namespace darkroom {

// What every TenantStore does alike.

inline constexpr std::string_view kTenantPrefix = "tenants/";

inline absl::Status TenantMissing() {
  return Error(absl::StatusCode::kNotFound, "TENANT_NOT_FOUND", "there is no such tenant");
}

// "studio" of "tenants/studio"; nothing of any other name.
inline std::string TenantIdOf(std::string_view name) {
  if (name.substr(0, kTenantPrefix.size()) != kTenantPrefix) return "";
  return std::string(name.substr(kTenantPrefix.size()));
}

}  // namespace darkroom
