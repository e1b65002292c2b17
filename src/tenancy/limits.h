#pragma once

#include <cstddef>

#include "absl/time/time.h"

namespace darkroom::tenancy_limits {

// Every bound of this layer.

// An API key's secret and the pepper that its hash is made with: 256 bits.
inline constexpr size_t kSecretBytes = 32;
// Random part of a key's id.
inline constexpr size_t kKeyIdBytes = 8;
// Keys of the whole server, revoked ones that are still listed included.
inline constexpr int kKeysMax = 65'536;
// And of one tenant.
inline constexpr int kKeysPerTenantMax = 256;
// How long a key stays listed after its end.
inline constexpr absl::Duration kEndedKept = absl::Hours(24 * 30);

// Tenants that were made over the API.
inline constexpr int kTenantsMax = 10'000;
// Rows of each kind that one transaction of a tenant's deletion removes.
inline constexpr int kPurgedRowsMax = 256;

// Of the value of `authorization`, which the transport bounds too.
inline constexpr size_t kAuthorizationBytesMax = 8 << 10;

// A file of JSON web keys.
inline constexpr size_t kJwksBytesMax = 1 << 20;
inline constexpr int kJwksKeysMax = 64;
inline constexpr int kRsaBitsMin = 2048;
inline constexpr int kRsaBitsMax = 8192;
// Nesting of JSON in a token or a key file.
inline constexpr int kJsonDepthMax = 16;
// By how much the clock of who signed a token may be off.
inline constexpr absl::Duration kClockSkew = absl::Seconds(60);
// A token that lasts longer is refused: it could not be revoked.
inline constexpr absl::Duration kTokenLifetimeMax = absl::Hours(24);
inline constexpr size_t kSubjectBytesMax = 256;

// How often files are looked at for changes.
inline constexpr absl::Duration kReloadInterval = absl::Milliseconds(500);

}  // namespace darkroom::tenancy_limits
