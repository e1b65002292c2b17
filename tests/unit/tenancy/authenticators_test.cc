#include "tenancy/authenticators.h"

#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "tenancy/api_key.h"
#include "testing/fake_clock.h"
#include "testing/temp_folder.h"
#include "testing/token_signer.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeClock;
using ::darkroom::testing::Jwks;
using ::darkroom::testing::TempFolder;
using ::darkroom::testing::TokenSigner;

const std::string kId(16, 'a');
const std::string kSecret(64, '1');
const std::string kKey = absl::StrCat("Bearer ", ApiKeyText{kId, kSecret}.ToString());

std::string Reason(const absl::StatusOr<Principal>& principal) {
  return principal.ok() ? "" : ErrorReason(principal.status());
}

TEST(LoopbackAuthenticatorTest, BelievesWhoeverNamesATenantThatThereIs) {
  const TenantDirectory tenants({"local", "studio"});
  const LoopbackAuthenticator authenticator(tenants);
  const auto local = authenticator.Authenticate({});
  ASSERT_TRUE(local.ok());
  EXPECT_EQ(local->tenant, "local");
  EXPECT_TRUE(local->roles.Has(v1::ROLE_OPERATOR));
  EXPECT_EQ(authenticator.Authenticate({.tenants = {"studio"}})->tenant, "studio");
  EXPECT_EQ(Reason(authenticator.Authenticate({.tenants = {"other"}})), "TENANT_UNKNOWN");
  EXPECT_EQ(Reason(authenticator.Authenticate({.tenants = {""}})), "TENANT_UNKNOWN");
  EXPECT_EQ(Reason(authenticator.Authenticate({.tenants = {"studio", "studio"}})),
            "TENANT_KEY_REPEATED");
}

class CredentialAuthenticatorTest : public ::testing::Test {
 protected:
  CredentialAuthenticatorTest() {
    std::ofstream(path_) << Jwks({signer_.Jwk()});
    PutKey("studio", v1::ROLE_TENANT_USER);
    CredentialAuthenticator::Options options;
    options.tenants = &tenants_;
    options.keys = &ring_;
    options.tokens = *TokenFile::Open(path_, {.issuer = "i", .audience = "a"});
    options.certificates = {{"spiffe://example.org/studio", "studio", v1::ROLE_TENANT_ADMIN},
                            {"spiffe://example.org/ops", "", v1::ROLE_OPERATOR}};
    authenticator_ = std::make_unique<CredentialAuthenticator>(std::move(options), clock_);
  }

  void PutKey(const std::string& tenant, v1::Role role) {
    v1::ApiKeyRecord record;
    record.mutable_key()->set_name("keys/" + kId);
    if (!tenant.empty()) record.mutable_key()->set_tenant("tenants/" + tenant);
    record.mutable_key()->set_role(role);
    record.add_secrets()->set_hash(ring_.Hash(kId, kSecret));
    ring_.Put(record);
  }

  std::string Token(const std::string& tenant, const TokenSigner& signer) {
    const int64_t now = absl::ToUnixSeconds(clock_.WallTime());
    return absl::StrCat(
        "Bearer ", signer.Sign(absl::StrCat(R"({"iss":"i","aud":"a","sub":"s","tenant":")", tenant,
                                            R"(","exp":)", now + 60, "}")));
  }

  const TempFolder folder_;
  const std::string path_ = folder_.path() + "/jwks.json";
  const TokenSigner signer_{"EdDSA"};
  FakeClock clock_;
  KeyRing ring_{"pepper"};
  TenantDirectory tenants_{{"studio", "local"}};
  std::unique_ptr<CredentialAuthenticator> authenticator_;
};

TEST_F(CredentialAuthenticatorTest, BelievesKeysTokensAndCertificates) {
  EXPECT_EQ(authenticator_->Authenticate({.authorization = {kKey}})->id, "keys/" + kId);
  EXPECT_EQ(authenticator_->Authenticate({.authorization = {Token("studio", signer_)}})->id,
            "jwt/s");
  const auto admin = authenticator_->Authenticate(
      {.certificate_uris = {"https://else.example", "spiffe://example.org/studio"}});
  ASSERT_TRUE(admin.ok()) << admin.status();
  EXPECT_EQ(admin->id, "certificate/spiffe://example.org/studio");
  EXPECT_TRUE(admin->roles.Has(v1::ROLE_TENANT_ADMIN));
}

TEST_F(CredentialAuthenticatorTest, RefusesTheRest) {
  EXPECT_EQ(Reason(authenticator_->Authenticate({})), "CREDENTIALS_MISSING");
  EXPECT_EQ(Reason(authenticator_->Authenticate({.tenants = {"studio"}})), "CREDENTIALS_MISSING");
  for (const std::string& text :
       {std::string(), std::string("Bearer "), std::string("Basic YTpi"), kKey + "x",
        kKey.substr(7), Token("studio", TokenSigner("EdDSA")), Token("unknown", signer_),
        std::string("Bearer ") + std::string(100'000, '.')}) {
    EXPECT_EQ(Reason(authenticator_->Authenticate({.authorization = {text}})),
              "CREDENTIALS_INVALID")
        << text.substr(0, 100);
  }
  EXPECT_EQ(Reason(authenticator_->Authenticate({.authorization = {kKey, kKey}})),
            "CREDENTIALS_INVALID");
  EXPECT_EQ(Reason(authenticator_->Authenticate({.certificate_uris = {"spiffe://other/studio"}})),
            "CREDENTIALS_INVALID");
}

TEST_F(CredentialAuthenticatorTest, ABadKeyIsNotMadeGoodByACertificate) {
  EXPECT_EQ(
      Reason(authenticator_->Authenticate(
          {.authorization = {"Bearer x"}, .certificate_uris = {"spiffe://example.org/studio"}})),
      "CREDENTIALS_INVALID");
}

TEST_F(CredentialAuthenticatorTest, ATenantThatIsNotThereAnyMoreHasNoCalls) {
  PutKey("gone", v1::ROLE_TENANT_USER);
  EXPECT_EQ(Reason(authenticator_->Authenticate({.authorization = {kKey}})), "CREDENTIALS_INVALID");
}

TEST_F(CredentialAuthenticatorTest, TheTenantIsTheCredentialsNotTheCallers) {
  EXPECT_TRUE(authenticator_->Authenticate({.authorization = {kKey}, .tenants = {"studio"}}).ok());
  EXPECT_EQ(Reason(authenticator_->Authenticate({.authorization = {kKey}, .tenants = {"local"}})),
            "TENANT_UNKNOWN");
  PutKey("", v1::ROLE_OPERATOR);
  const auto operators =
      authenticator_->Authenticate({.authorization = {kKey}, .tenants = {"local"}});
  ASSERT_TRUE(operators.ok());
  EXPECT_EQ(operators->tenant, "");
  EXPECT_FALSE(operators->roles.Has(v1::ROLE_TENANT_USER));
}

TEST_F(CredentialAuthenticatorTest, RevokedMeansFromTheNextCallOn) {
  ASSERT_TRUE(authenticator_->Authenticate({.authorization = {kKey}}).ok());
  ring_.Remove("keys/" + kId);
  EXPECT_EQ(Reason(authenticator_->Authenticate({.authorization = {kKey}})), "CREDENTIALS_INVALID");
}

TEST_F(CredentialAuthenticatorTest, FollowsTheFileOfTokenKeysByItself) {
  const TokenSigner next("EdDSA", "next");
  ASSERT_EQ(Reason(authenticator_->Authenticate({.authorization = {Token("studio", next)}})),
            "CREDENTIALS_INVALID");
  std::ofstream(path_ + ".new") << Jwks({next.Jwk()});
  ASSERT_EQ(std::rename((path_ + ".new").c_str(), path_.c_str()), 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!authenticator_->Authenticate({.authorization = {Token("studio", next)}}).ok()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(Reason(authenticator_->Authenticate({.authorization = {Token("studio", signer_)}})),
            "CREDENTIALS_INVALID");
}

}  // namespace
}  // namespace darkroom
