#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "darkroom/principal.h"
#include "tenancy/jwks.h"

namespace darkroom {

// Checks signed JSON web tokens (RFC 7519) of one issuer. Immutable, and so thread-safe.
class TokenVerifier {
 public:
  struct Options {
    std::string issuer;    // what "iss" must be
    std::string audience;  // what "aud" must be or contain
    // Claims that tell the tenant's name and the role (RoleName; without it ROLE_TENANT_USER).
    std::string tenant_claim = "tenant";
    std::string role_claim = "role";
  };
  TokenVerifier(Options options, std::vector<VerificationKey> keys);

  // Who the token's bearer is. An error is INVALID_ARGUMENT and says what is wrong: for the
  // operator's log, never for the bearer. Refused besides a bad signature: algorithms other than
  // the key's own, "crit" headers, a token that is not valid yet or any more (give or take
  // kClockSkew), that lasts longer than kTokenLifetimeMax or that never ends, a role without the
  // tenant that it needs, a member that is there twice.
  absl::StatusOr<Principal> Verify(std::string_view token, absl::Time now) const;

 private:
  const VerificationKey* FindKey(const std::string& id, SignatureAlgorithm algorithm) const;

  const Options options_;
  const std::vector<VerificationKey> keys_;
};

}  // namespace darkroom
