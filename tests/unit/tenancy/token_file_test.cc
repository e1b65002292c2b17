#include "tenancy/token_file.h"

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/temp_folder.h"
#include "testing/token_signer.h"

namespace darkroom {
namespace {

using ::darkroom::testing::Jwks;
using ::darkroom::testing::TempFolder;
using ::darkroom::testing::TokenSigner;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
const std::string kClaims =
    R"({"iss":"i","aud":"a","sub":"s","tenant":"t","iat":1700000000,"exp":1700000100})";

class TokenFileTest : public ::testing::Test {
 protected:
  void Replace(const std::string& text) {
    std::ofstream(path_ + ".new", std::ios::binary) << text;
    ASSERT_EQ(std::rename((path_ + ".new").c_str(), path_.c_str()), 0);
  }
  auto Open() {
    return TokenFile::Open(path_, TokenVerifier::Options{.issuer = "i", .audience = "a"});
  }

  const TempFolder folder_;
  const std::string path_ = folder_.path() + "/jwks.json";
  const TokenSigner old_{"ES256", "old"};
  const TokenSigner new_{"ES256", "new"};
};

TEST_F(TokenFileTest, FollowsTheFile) {
  Replace(Jwks({old_.Jwk()}));
  auto file = Open();
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->Verify(old_.Sign(kClaims), kNow).ok());
  EXPECT_FALSE((*file)->Verify(new_.Sign(kClaims), kNow).ok());
  Replace(Jwks({new_.Jwk()}));
  ASSERT_TRUE((*file)->Poll().ok());
  EXPECT_FALSE((*file)->Verify(old_.Sign(kClaims), kNow).ok());
  EXPECT_TRUE((*file)->Verify(new_.Sign(kClaims), kNow).ok());
}

TEST_F(TokenFileTest, KeepsItsKeysWhenTheFileIsBadOrGoneAndSaysSoOnce) {
  Replace(Jwks({old_.Jwk()}));
  auto file = Open();
  ASSERT_TRUE(file.ok()) << file.status();
  Replace("half a fi");
  const absl::Status bad = (*file)->Poll();
  EXPECT_EQ(ErrorReason(bad), "JWKS_INVALID");
  EXPECT_THAT(std::string(bad.message()), HasSubstr(path_));
  EXPECT_TRUE((*file)->Poll().ok());
  std::remove(path_.c_str());
  EXPECT_EQ(ErrorReason((*file)->Poll()), "JWKS_UNREADABLE");
  EXPECT_TRUE((*file)->Poll().ok());
  EXPECT_TRUE((*file)->Verify(old_.Sign(kClaims), kNow).ok());
  Replace(Jwks({new_.Jwk()}));
  EXPECT_TRUE((*file)->Poll().ok());
  EXPECT_TRUE((*file)->Verify(new_.Sign(kClaims), kNow).ok());
}

TEST_F(TokenFileTest, IsNeededAtTheStart) {
  EXPECT_EQ(ErrorReason(Open().status()), "JWKS_UNREADABLE");
  Replace("{}");
  EXPECT_EQ(ErrorReason(Open().status()), "JWKS_INVALID");
}

}  // namespace
}  // namespace darkroom
