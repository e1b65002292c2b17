#include "base/role_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace darkroom {

std::string RoleName(v1::Role role) {
  if (role == v1::ROLE_UNSPECIFIED) return "";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::Role_Name(role), "ROLE_"));
}

v1::Role ParseRole(std::string_view name) {
  for (int value = v1::Role_MIN + 1; value <= v1::Role_MAX; ++value) {
    const auto role = static_cast<v1::Role>(value);
    if (name == RoleName(role)) return role;
  }
  return v1::ROLE_UNSPECIFIED;
}

bool IsTenantRole(v1::Role role) {
  return role == v1::ROLE_TENANT_USER || role == v1::ROLE_TENANT_ADMIN;
}

}  // namespace darkroom
