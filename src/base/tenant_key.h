#pragma once

namespace darkroom {

// The metadata key with which a call on a loopback listener says which tenant's it is; a binary or
// repeated one is refused.
inline constexpr char kTenantKey[] = "darkroom-tenant";
// Whose calls are that name no tenant.
inline constexpr char kLocalTenant[] = "local";
// In a resource's name: the caller's own tenant, for one whose credentials know it and who does
// not.
inline constexpr char kOwnTenant[] = "-";

}  // namespace darkroom
