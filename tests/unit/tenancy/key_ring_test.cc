#include "tenancy/key_ring.h"

#include <string>

#include "base/error.h"
#include "base/wall_time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tenancy/api_key.h"

namespace darkroom {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
const std::string kId(16, 'a');
const std::string kSecret(64, '1');
const std::string kOlder(64, '2');
const std::string kText = ApiKeyText{kId, kSecret}.ToString();

class KeyRingTest : public ::testing::Test {
 protected:
  v1::ApiKeyRecord Record(const std::string& id = kId, const std::string& tenant = "studio") {
    v1::ApiKeyRecord record;
    record.mutable_key()->set_name("keys/" + id);
    record.mutable_key()->set_tenant("tenants/" + tenant);
    record.mutable_key()->set_role(v1::ROLE_TENANT_USER);
    record.add_secrets()->set_hash(ring_.Hash(id, kSecret));
    return record;
  }
  std::string Reason(const std::string& text, absl::Time now = kNow) {
    const auto principal = ring_.Verify(text, now);
    return principal.ok() ? "" : ErrorReason(principal.status());
  }

  KeyRing ring_{"a pepper"};
};

TEST_F(KeyRingTest, KnowsWhoseAKeyIs) {
  ring_.Put(Record());
  const auto principal = ring_.Verify(kText, kNow);
  ASSERT_TRUE(principal.ok()) << principal.status();
  EXPECT_EQ(principal->id, "keys/" + kId);
  EXPECT_EQ(principal->tenant, "studio");
  EXPECT_TRUE(principal->roles.Has(v1::ROLE_TENANT_USER));
  EXPECT_FALSE(principal->roles.Has(v1::ROLE_TENANT_ADMIN));
}

TEST_F(KeyRingTest, WhateverIsWrongTheAnswerIsTheSame) {
  ring_.Put(Record());
  const absl::Status unknown =
      ring_.Verify(ApiKeyText{std::string(16, 'b'), kSecret}.ToString(), kNow).status();
  EXPECT_EQ(ring_.Verify(ApiKeyText{kId, kOlder}.ToString(), kNow).status(), unknown);
  EXPECT_EQ(ring_.Verify("drk_nonsense", kNow).status(), unknown);
  EXPECT_EQ(ring_.Verify("", kNow).status(), unknown);
  EXPECT_EQ(ErrorReason(unknown), "CREDENTIALS_INVALID");
}

TEST_F(KeyRingTest, AKeyOfAnotherPepperOpensNothing) {
  v1::ApiKeyRecord record = Record();
  record.mutable_secrets(0)->set_hash(KeyRing("another").Hash(kId, kSecret));
  ring_.Put(record);
  EXPECT_EQ(Reason(kText), "CREDENTIALS_INVALID");
}

TEST_F(KeyRingTest, EndsWithItsTimeOrItsRevocation) {
  v1::ApiKeyRecord record = Record();
  *record.mutable_key()->mutable_expire_time() = ToTimestamp(kNow + absl::Seconds(1));
  ring_.Put(record);
  EXPECT_EQ(Reason(kText), "");
  EXPECT_EQ(Reason(kText, kNow + absl::Seconds(1)), "CREDENTIALS_INVALID");
  EXPECT_EQ(ring_.Get("keys/" + kId, kNow + absl::Seconds(1))->state(), v1::ApiKey::STATE_EXPIRED);
  *record.mutable_key()->mutable_revoke_time() = ToTimestamp(kNow);
  ring_.Put(record);
  EXPECT_EQ(Reason(kText), "CREDENTIALS_INVALID");
  EXPECT_EQ(ring_.Get("keys/" + kId, kNow)->state(), v1::ApiKey::STATE_REVOKED);
}

TEST_F(KeyRingTest, TheOlderTextOfARotatedKeyHasItsOwnEnd) {
  v1::ApiKeyRecord record = Record();
  auto* older = record.add_secrets();
  older->set_hash(ring_.Hash(kId, kOlder));
  *older->mutable_expire_time() = ToTimestamp(kNow + absl::Hours(1));
  ring_.Put(record);
  const std::string old_text = ApiKeyText{kId, kOlder}.ToString();
  EXPECT_EQ(Reason(old_text), "");
  EXPECT_EQ(Reason(kText), "");
  EXPECT_TRUE(ring_.Get("keys/" + kId, kNow)->has_previous_expire_time());
  EXPECT_EQ(Reason(old_text, kNow + absl::Hours(1)), "CREDENTIALS_INVALID");
  EXPECT_EQ(Reason(kText, kNow + absl::Hours(1)), "");
  EXPECT_FALSE(ring_.Get("keys/" + kId, kNow + absl::Hours(1))->has_previous_expire_time());
}

TEST_F(KeyRingTest, ListsByNameAndByTenant) {
  for (const char* id : {"c", "a", "b"}) ring_.Put(Record(id));
  ring_.Put(Record("ab", "other"));
  const auto names = [&](const std::string& tenant, const std::string& after, int max) {
    std::string all;
    for (const auto& key : ring_.List(tenant, after, max, kNow)) all += key.name() + " ";
    return all;
  };
  EXPECT_EQ(names("", "", 10), "keys/a keys/ab keys/b keys/c ");
  EXPECT_EQ(names("tenants/studio", "", 2), "keys/a keys/b ");
  EXPECT_EQ(names("tenants/studio", "keys/b", 2), "keys/c ");
  ring_.Remove("keys/c");
  EXPECT_EQ(names("tenants/studio", "keys/b", 2), "");
  EXPECT_EQ(ErrorReason(ring_.Get("keys/c", kNow).status()), "KEY_NOT_FOUND");
}

}  // namespace
}  // namespace darkroom
