// A caller's JSON web token. The first byte says whether the rest is a token, or a header and
// claims that the issuer signed: what is behind the signature is parsed too.
#include "fuzz/fuzz_target.h"
#include "tenancy/token_verifier.h"
#include "testing/token_signer.h"

namespace darkroom::fuzz {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

const testing::TokenSigner& Signer() {
  static const auto* signer = new testing::TokenSigner("EdDSA");
  return *signer;
}

const TokenVerifier& Verifier() {
  static const auto* verifier =
      new TokenVerifier({.issuer = "https://id.example", .audience = "darkroom"},
                        *ParseJwks(testing::Jwks({Signer().Jwk()})));
  return *verifier;
}

}  // namespace

void Run(std::string_view bytes) {
  if (bytes.empty()) return;
  const std::string rest(bytes.substr(1));
  const size_t cut = rest.find('\n');
  absl::StatusOr<Principal> caller = absl::UnknownError("");
  switch (bytes[0]) {
    case 'h':  // a header of one's own
      if (cut == rest.npos) return;
      caller = Verifier().Verify(Signer().Sign(rest.substr(cut + 1), rest.substr(0, cut)), kNow);
      break;
    case 'c':  // claims
      caller = Verifier().Verify(Signer().Sign(rest), kNow);
      break;
    default:
      Require(!Verifier().Verify(rest, kNow).ok(), "a token needs a signature");
      return;
  }
  if (!caller.ok()) return;
  Require(!caller->roles.empty() && !caller->id.empty(), "a caller is somebody");
  Require(!caller->roles.Has(v1::ROLE_TENANT_USER) || !caller->tenant.empty(),
          "who acts for a tenant says for which");
}

std::vector<std::string> Seeds() {
  const std::string claims =
      R"({"iss":"https://id.example","aud":["darkroom"],"sub":"alice","tenant":"studio",)"
      R"("role":"tenant_admin","iat":1699999990,"nbf":1699999990,"exp":1700000300})";
  return {"c" + claims,
          "c" + std::string(R"({"iss":"https://id.example","aud":"darkroom","sub":"o",)") +
              R"("role":"operator","exp":1700000300.5})",
          "h" + std::string(R"({"alg":"EdDSA","kid":"one","typ":"JWT"})") + "\n" + claims,
          "teyJhbGciOiJub25lIn0.e30."};
}

}  // namespace darkroom::fuzz
