#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "darkroom/v1/access.pb.h"

namespace darkroom {

// A set of v1::Role. Value type.
class Roles {
 public:
  constexpr Roles() = default;
  constexpr explicit Roles(v1::Role role) : bits_(1U << static_cast<unsigned>(role)) {}
  // Every role that there is: a caller on a loopback listener without keys.
  static constexpr Roles All() { return Roles(~1U); }

  constexpr Roles operator|(Roles other) const { return Roles(bits_ | other.bits_); }
  constexpr bool Intersects(Roles other) const { return (bits_ & other.bits_) != 0; }
  constexpr bool Has(v1::Role role) const { return Intersects(Roles(role)); }
  constexpr bool empty() const { return bits_ == 0; }

 private:
  constexpr explicit Roles(uint32_t bits) : bits_(bits) {}
  uint32_t bits_ = 0;
};

// An authenticated caller.
struct Principal {
  // Who it is, for records: "keys/k3f...", "jwt/{subject}", "certificate/{uri}", "loopback".
  std::string id;
  // Whom it acts for. Empty for an operator or an auditor, who act for no tenant.
  std::string tenant;
  Roles roles;
};

// What a call brings to say who makes it, unchecked but for the certificate.
struct Credentials {
  // Every value of the metadata keys `authorization` and `darkroom-tenant`.
  std::vector<std::string> authorization;
  std::vector<std::string> tenants;
  // URI names of the client's certificate, which the TLS handshake has verified; empty for none.
  std::vector<std::string> certificate_uris;
};

// Says who calls. Thread-safe; never blocks on a disk or a network.
class Authenticator {
 public:
  virtual ~Authenticator() = default;
  // UNAUTHENTICATED, with one of the reasons CREDENTIALS_MISSING, CREDENTIALS_INVALID (also for a
  // key that is revoked or unknown, or a token that has expired: which of these is not told) and
  // TENANT_UNKNOWN; INVALID_ARGUMENT (TENANT_KEY_REPEATED).
  virtual absl::StatusOr<Principal> Authenticate(const Credentials& credentials) const = 0;
};

}  // namespace darkroom
