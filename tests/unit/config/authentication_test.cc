#include "config/authentication.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<Config::Authentication> Resolve(
    const std::function<void(v1::AuthenticationConfig&)>& change, bool has_ca = true) {
  v1::DaemonConfig proto;
  change(*proto.mutable_authentication());
  Config config;
  config.tenants.emplace_back().name = "studio";
  if (has_ca) config.listen.tls.client_ca = "ca.pem";
  return ResolveAuthentication(proto, config);
}

std::string Problem(const std::function<void(v1::AuthenticationConfig&)>& change,
                    bool has_ca = true) {
  const auto authentication = Resolve(change, has_ca);
  return authentication.ok() ? "" : std::string(authentication.status().message());
}

void FillJwt(v1::JwtConfig& jwt) {
  jwt.set_jwks("keys.json");
  jwt.set_issuer("https://id.example");
  jwt.set_audience("darkroom");
}

TEST(AuthenticationTest, KeysCountByDefault) {
  const auto authentication = Resolve([](v1::AuthenticationConfig&) {});
  ASSERT_TRUE(authentication.ok()) << authentication.status();
  EXPECT_TRUE(authentication->api_keys);
  EXPECT_FALSE(authentication->jwt.has_value());
  EXPECT_THAT(Problem([](v1::AuthenticationConfig& proto) { proto.set_api_keys(false); }),
              HasSubstr("nobody could call"));
}

TEST(AuthenticationTest, TokensNeedAnIssuerAnAudienceAndKeys) {
  const auto authentication = Resolve([](v1::AuthenticationConfig& proto) {
    proto.set_api_keys(false);
    FillJwt(*proto.mutable_jwt());
  });
  ASSERT_TRUE(authentication.ok()) << authentication.status();
  EXPECT_FALSE(authentication->api_keys);
  EXPECT_EQ(authentication->jwt->tenant_claim, "tenant");
  EXPECT_EQ(authentication->jwt->role_claim, "role");
  const auto without = [](const std::function<void(v1::JwtConfig&)>& clear) {
    return Problem([&](v1::AuthenticationConfig& proto) {
      FillJwt(*proto.mutable_jwt());
      clear(*proto.mutable_jwt());
    });
  };
  EXPECT_THAT(without([](auto& jwt) { jwt.clear_jwks(); }), HasSubstr("jwt.jwks is not set"));
  EXPECT_THAT(without([](auto& jwt) { jwt.clear_issuer(); }), HasSubstr("jwt.issuer is not set"));
  EXPECT_THAT(without([](auto& jwt) { jwt.clear_audience(); }),
              HasSubstr("jwt.audience is not set"));
}

TEST(AuthenticationTest, CertificatesNeedAUriARoleAndItsTenant) {
  const auto with = [](const std::string& uri, const std::string& tenant, const std::string& role,
                       bool has_ca = true) {
    return Problem(
        [&](v1::AuthenticationConfig& proto) {
          auto* certificate = proto.add_certificates();
          certificate->set_identity(uri);
          certificate->set_tenant(tenant);
          certificate->set_role(role);
        },
        has_ca);
  };
  EXPECT_EQ(with("spiffe://a", "studio", ""), "");
  EXPECT_EQ(with("spiffe://a", "", "operator"), "");
  EXPECT_THAT(with("", "studio", ""), HasSubstr("certificates[0].identity is not set"));
  EXPECT_THAT(with("spiffe://a", "", "tenant_admin"), HasSubstr(".tenant is not set"));
  EXPECT_THAT(with("spiffe://a", "studoi", ""), HasSubstr("nearest: \"studio\""));
  EXPECT_THAT(with("spiffe://a", "studio", "operator"), HasSubstr("must be left out"));
  EXPECT_THAT(with("spiffe://a", "", "opperator"), HasSubstr("nearest: \"operator\""));
  EXPECT_THAT(with("spiffe://a", "studio", "", false), HasSubstr("client_ca is not set"));
  EXPECT_THAT(Problem([](v1::AuthenticationConfig& proto) {
                for (int i = 0; i < 2; ++i) {
                  proto.add_certificates()->set_identity("spiffe://a");
                  proto.mutable_certificates(i)->set_tenant("studio");
                }
              }),
              HasSubstr("must be unlike every other"));
}

}  // namespace
}  // namespace darkroom
