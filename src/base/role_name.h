#pragma once

#include <string>
#include <string_view>

#include "darkroom/v1/access.pb.h"

namespace darkroom {

// "tenant_user", "tenant_admin", "operator" or "auditor", as configuration, tokens and the command
// line write it; empty for ROLE_UNSPECIFIED.
std::string RoleName(v1::Role role);

// ROLE_UNSPECIFIED for any other text.
v1::Role ParseRole(std::string_view name);

// Whether the role acts for a tenant: its credentials name one, and the others' none.
bool IsTenantRole(v1::Role role);

}  // namespace darkroom
