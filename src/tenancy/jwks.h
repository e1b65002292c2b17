#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

struct evp_pkey_st;

namespace darkroom {

// How a token is signed (RFC 7518, RFC 8037). Nothing symmetric, and never "none".
enum class SignatureAlgorithm { kEs256, kEdDsa, kRs256 };

// False for any other name. `name`: a JWT's "alg".
bool ParseAlgorithm(std::string_view name, SignatureAlgorithm& algorithm);

// A public key that tokens are signed with.
class VerificationKey {
 public:
  VerificationKey(std::string id, SignatureAlgorithm algorithm, evp_pkey_st* key);

  const std::string& id() const { return id_; }  // "kid"; empty for none
  SignatureAlgorithm algorithm() const { return algorithm_; }
  // Whether `signature`, as a token has it, is this key's over `text`. Thread-safe.
  bool Verify(std::string_view text, std::string_view signature) const;

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  std::string id_;
  SignatureAlgorithm algorithm_;
  std::unique_ptr<evp_pkey_st, Free> key_;
};

// Reads a JSON web key set (RFC 7517). Keys for anything but signatures, and of kinds that are not
// among SignatureAlgorithm, are passed over. INVALID_ARGUMENT (JWKS_INVALID) names the key and what
// is wrong with it: not JSON, too large, a private or symmetric key, RSA of less than 2,048 bits, a
// point that is not on its curve, an id that occurs twice, no key left.
absl::StatusOr<std::vector<VerificationKey>> ParseJwks(std::string_view text);

// Strict base64url without padding (RFC 7515). False for anything else.
bool DecodeBase64Url(std::string_view text, std::string& bytes);

}  // namespace darkroom
