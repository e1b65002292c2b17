// The issuer's key set.
#include "fuzz/fuzz_target.h"
#include "tenancy/jwks.h"
#include "testing/token_signer.h"

namespace darkroom::fuzz {

void Run(std::string_view bytes) {
  const auto keys = ParseJwks(bytes);
  if (!keys.ok()) return;
  Require(!keys->empty(), "a key set that is taken has a key");
  for (const VerificationKey& key : *keys) {
    Require(!key.Verify("text", "not its signature"), "only the key's signature is taken");
  }
}

std::vector<std::string> Seeds() {
  return {testing::Jwks(
              {testing::TokenSigner("ES256").Jwk(), testing::TokenSigner("EdDSA", "two").Jwk()}),
          testing::Jwks({testing::TokenSigner("RS256").Jwk()})};
}

}  // namespace darkroom::fuzz
