#include "tenancy/jwks.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/token_signer.h"

namespace darkroom {
namespace {

using ::darkroom::testing::Base64Url;
using ::darkroom::testing::Jwks;
using ::darkroom::testing::TokenSigner;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string Problem(const std::string& text) {
  const auto keys = ParseJwks(text);
  if (keys.ok()) return "";
  EXPECT_EQ(ErrorReason(keys.status()), "JWKS_INVALID");
  return std::string(keys.status().message());
}

TEST(DecodeBase64UrlTest, HasOneTextForOneValue) {
  std::string bytes;
  EXPECT_TRUE(DecodeBase64Url("", bytes));
  EXPECT_TRUE(DecodeBase64Url("_-8", bytes));
  EXPECT_EQ(bytes, "\xff\xef");
  // Padding, the other alphabet, bits that no byte has, a digit too many, white space.
  for (const char* text : {"_-8=", "/+8", "_-9", "_-8_A", "_ -8", "_-8\n"}) {
    EXPECT_FALSE(DecodeBase64Url(text, bytes)) << text;
  }
}

TEST(ParseJwksTest, ReadsEveryKindOfKey) {
  const TokenSigner ec("ES256", "ec");
  const TokenSigner ed("EdDSA", "ed");
  const TokenSigner rsa("RS256", "rsa");
  const auto keys = ParseJwks(Jwks({ec.Jwk(), ed.Jwk(), rsa.Jwk()}));
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_THAT(*keys, SizeIs(3));
  EXPECT_EQ((*keys)[0].id(), "ec");
  EXPECT_EQ((*keys)[0].algorithm(), SignatureAlgorithm::kEs256);
  EXPECT_EQ((*keys)[1].algorithm(), SignatureAlgorithm::kEdDsa);
  EXPECT_EQ((*keys)[2].algorithm(), SignatureAlgorithm::kRs256);
}

TEST(ParseJwksTest, PassesOverKeysThatAreNotForSignaturesWeKnow) {
  const TokenSigner ec("ES256", "ec");
  const std::string encrypting = absl::StrReplaceAll(TokenSigner("RS256", "enc").Jwk(),
                                                     {{R"("use":"sig")", R"("use":"enc")"}});
  const std::string other = absl::StrReplaceAll(TokenSigner("RS256", "ps").Jwk(),
                                                {{R"("use":"sig")", R"("alg":"PS256")"}});
  const auto keys = ParseJwks(Jwks({encrypting, other, R"({"kty":"EC","crv":"P-521"})", ec.Jwk()}));
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_THAT(*keys, SizeIs(1));
  EXPECT_THAT(Problem(Jwks({encrypting})), HasSubstr("no key in it"));
}

TEST(ParseJwksTest, SaysWhatIsWrong) {
  const TokenSigner ec("ES256", "ec");
  EXPECT_THAT(Problem(""), HasSubstr("must be a JSON object"));
  EXPECT_THAT(Problem(R"({"keys":{}})"), HasSubstr("must be a JSON object"));
  EXPECT_THAT(Problem(R"({"keys":[1]})"), HasSubstr("keys[0] is not an object"));
  EXPECT_THAT(Problem(Jwks({})), HasSubstr("no key in it"));
  EXPECT_THAT(Problem(Jwks({ec.Jwk(), ec.Jwk()})), HasSubstr("keys[1] has the kid of another"));
  EXPECT_THAT(Problem(Jwks({R"({"kty":"oct","k":"c2VjcmV0"})"})), HasSubstr("symmetric"));
  EXPECT_THAT(Problem(Jwks({absl::StrReplaceAll(ec.Jwk(), {{R"("x":)", R"("d":"AA","x":)"}})})),
              HasSubstr("private"));
  EXPECT_THAT(Problem(Jwks({TokenSigner("RS256", "small", 1024).Jwk()})), HasSubstr("1024 bits"));
  const std::string off_curve =
      absl::StrCat(R"({"kty":"EC","crv":"P-256","x":")", Base64Url(std::string(32, 1)),
                   R"(","y":")", Base64Url(std::string(32, 2)), "\"}");
  EXPECT_THAT(Problem(Jwks({off_curve})), HasSubstr("no valid public key"));
  EXPECT_THAT(Problem(Jwks({R"({"kty":"OKP","crv":"Ed25519","x":"AAAA"})"})),
              HasSubstr("no valid public key"));
  EXPECT_THAT(Problem(std::string(2 << 20, ' ')), HasSubstr("more than"));
  EXPECT_THAT(Problem(Jwks(std::vector<std::string>(65, "{}"))), HasSubstr("65 keys"));
}

TEST(VerificationKeyTest, TakesItsOwnSignaturesOnly) {
  for (const char* algorithm : {"ES256", "EdDSA", "RS256"}) {
    const TokenSigner signer(algorithm);
    const TokenSigner other(algorithm);
    const auto keys = ParseJwks(Jwks({signer.Jwk()}));
    ASSERT_TRUE(keys.ok()) << keys.status();
    const std::string token = signer.Sign("{}");
    const size_t dot = token.rfind('.');
    std::string signature;
    ASSERT_TRUE(DecodeBase64Url(token.substr(dot + 1), signature));
    const std::string text = token.substr(0, dot);
    EXPECT_TRUE((*keys)[0].Verify(text, signature)) << algorithm;
    EXPECT_FALSE((*keys)[0].Verify(text + "x", signature)) << algorithm;
    for (size_t i = 0; i < signature.size(); i += 7) {
      std::string changed = signature;
      changed[i] = static_cast<char>(changed[i] ^ 1);
      EXPECT_FALSE((*keys)[0].Verify(text, changed)) << algorithm << " " << i;
    }
    for (const size_t size : {size_t{0}, size_t{1}, signature.size() - 1, signature.size() + 1}) {
      std::string changed = signature;
      changed.resize(size);
      EXPECT_FALSE((*keys)[0].Verify(text, changed)) << algorithm << " " << size;
    }
    const std::string foreign = other.Sign("{}");
    ASSERT_TRUE(DecodeBase64Url(foreign.substr(foreign.rfind('.') + 1), signature));
    EXPECT_FALSE((*keys)[0].Verify(text, signature)) << algorithm;
  }
}

TEST(VerificationKeyTest, ZeroIsNoSignature) {
  // What let anyone in where the numbers' range was not checked (CVE-2022-21449).
  const auto keys = ParseJwks(Jwks({TokenSigner("ES256").Jwk()}));
  ASSERT_TRUE(keys.ok());
  EXPECT_FALSE((*keys)[0].Verify("text", std::string(64, '\0')));
}

}  // namespace
}  // namespace darkroom
