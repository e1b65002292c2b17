#include "tenancy/token_verifier.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/token_signer.h"

namespace darkroom {
namespace {

using ::darkroom::testing::Base64Url;
using ::darkroom::testing::Jwks;
using ::darkroom::testing::TokenSigner;
using ::testing::HasSubstr;

constexpr int64_t kSeconds = 1'700'000'000;
const absl::Time kNow = absl::FromUnixSeconds(kSeconds);

// Claims that are good, with `changes` put in place of theirs.
std::string Claims(std::string_view from = "", std::string_view to = "") {
  const std::string good =
      absl::StrCat(R"({"iss":"https://id.example","aud":"darkroom","sub":"alice",)",
                   R"("tenant":"studio","iat":)", kSeconds - 10, R"(,"exp":)", kSeconds + 300, "}");
  return from.empty() ? good : absl::StrReplaceAll(good, {{std::string(from), std::string(to)}});
}

class TokenVerifierTest : public ::testing::TestWithParam<const char*> {
 protected:
  TokenVerifierTest()
      : signer_(GetParam()),
        verifier_({.issuer = "https://id.example", .audience = "darkroom"},
                  *ParseJwks(Jwks({TokenSigner("EdDSA", "another").Jwk(), signer_.Jwk()}))) {}

  std::string Problem(const std::string& token) {
    const auto principal = verifier_.Verify(token, kNow);
    return principal.ok() ? "" : std::string(principal.status().message());
  }

  TokenSigner signer_;
  TokenVerifier verifier_;
};

TEST_P(TokenVerifierTest, KnowsTheBearer) {
  const auto user = verifier_.Verify(signer_.Sign(Claims()), kNow);
  ASSERT_TRUE(user.ok()) << user.status();
  EXPECT_EQ(user->id, "jwt/alice");
  EXPECT_EQ(user->tenant, "studio");
  EXPECT_TRUE(user->roles.Has(v1::ROLE_TENANT_USER));
  const auto auditor =
      verifier_.Verify(signer_.Sign(Claims(R"("tenant":"studio")", R"("role":"auditor")")), kNow);
  ASSERT_TRUE(auditor.ok()) << auditor.status();
  EXPECT_EQ(auditor->tenant, "");
  EXPECT_TRUE(auditor->roles.Has(v1::ROLE_AUDITOR));
  EXPECT_FALSE(auditor->roles.Has(v1::ROLE_TENANT_USER));
}

TEST_P(TokenVerifierTest, ChecksTheClaims) {
  const std::string exp = absl::StrCat(R"("exp":)", kSeconds + 300);
  const std::string iat = absl::StrCat(R"("iat":)", kSeconds - 10);
  const struct {
    std::string_view from;
    std::string to;
    const char* problem;
  } cases[] = {
      {"id.example", "id.evil", "iss"},
      {R"("iss":"https://id.example",)", "", "iss"},
      {R"("aud":"darkroom")", R"("aud":"other")", "aud"},
      {R"("aud":"darkroom")", R"("aud":["a","darkroom"])", ""},
      {R"("aud":"darkroom")", R"("aud":["a"])", "aud"},
      {R"("aud":"darkroom",)", "", "aud"},
      {exp, absl::StrCat(R"("exp":)", kSeconds - 61), "expired"},
      {exp, absl::StrCat(R"("exp":)", kSeconds - 30), ""},  // within the skew
      {exp, R"("exp":"soon")", "not a number"},
      {exp, R"("exp":-1)", "not a number"},
      {exp, R"("exp":1e300)", "not a number"},
      {exp, absl::StrCat(R"("exp":)", kSeconds + 300, ".5"), ""},
      {exp, R"("nbf":0)", "no exp"},
      {exp, absl::StrCat(exp, R"(,"nbf":)", kSeconds + 61), "not valid yet"},
      {iat, absl::StrCat(R"("iat":)", kSeconds + 61), "future"},
      {exp, absl::StrCat(R"("exp":)", kSeconds + 25 * 3600), "longer than 24 hours"},
      {R"("tenant":"studio",)", "", "names no tenant"},
      {R"("tenant":"studio")", R"("tenant":"../x")", "names no tenant"},
      {R"("tenant":"studio")", R"("tenant":["studio"])", "names no tenant"},
      {R"("tenant":"studio")", R"("tenant":"studio","role":"operator")", "acts for none"},
      {R"("tenant":"studio")", R"("tenant":"studio","role":"root")", "role"},
      {R"("tenant":"studio")", R"("tenant":"studio","role":["operator"])", "role"},
      {R"("tenant":"studio")", R"("tenant":"studio","tenant":"other")", "not a JSON object"},
      {R"("sub":"alice",)", "", "sub"},
  };
  for (const auto& test : cases) {
    const std::string problem = Problem(signer_.Sign(Claims(test.from, test.to)));
    if (*test.problem == '\0') {
      EXPECT_EQ(problem, "") << test.to;
    } else {
      EXPECT_THAT(problem, HasSubstr(test.problem)) << test.to;
    }
  }
}

TEST_P(TokenVerifierTest, ChecksTheHeader) {
  const std::string claims = Claims();
  const auto with = [&](const std::string& header) {
    return Problem(signer_.Sign(claims, header));
  };
  const std::string alg = absl::StrCat(R"("alg":")", GetParam(), "\"");
  EXPECT_EQ(with("{" + alg + R"(,"kid":"one","typ":"JWT"})"), "");
  EXPECT_THAT(with(R"({"alg":"none","kid":"one"})"), HasSubstr("not signed with"));
  EXPECT_THAT(with(R"({"alg":"HS256","kid":"one"})"), HasSubstr("not signed with"));
  EXPECT_THAT(with(R"({"kid":"one"})"), HasSubstr("not signed with"));
  EXPECT_THAT(with("{" + alg + R"(,"kid":"two"})"), HasSubstr("no key"));
  EXPECT_THAT(with("{" + alg + "}"), HasSubstr("no key"));  // which of the two?
  EXPECT_THAT(with("{" + alg + R"(,"kid":"one","crit":["exp"]})"), HasSubstr("critical"));
  EXPECT_THAT(with("[]"), HasSubstr("header is not"));
}

TEST_P(TokenVerifierTest, ChecksTheSignature) {
  const std::string token = signer_.Sign(Claims());
  const std::string forged = TokenSigner(GetParam()).Sign(Claims());
  EXPECT_THAT(Problem(forged), HasSubstr("signature"));
  // The signature of one token under the claims of another.
  const std::string other = signer_.Sign(Claims("studio", "victim"));
  EXPECT_THAT(Problem(other.substr(0, other.rfind('.')) + token.substr(token.rfind('.'))),
              HasSubstr("signature"));
  EXPECT_NE(Problem(token.substr(0, token.rfind('.') + 1)), "");
  EXPECT_NE(Problem(token + "."), "");
  EXPECT_NE(Problem(token + "="), "");
  EXPECT_NE(Problem(""), "");
  EXPECT_NE(Problem(".."), "");
  EXPECT_THAT(Problem(std::string(9000, 'a')), HasSubstr("too large"));
}

INSTANTIATE_TEST_SUITE_P(Algorithms, TokenVerifierTest,
                         ::testing::Values("ES256", "EdDSA", "RS256"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace darkroom
