#include "tenancy/local_keys.h"

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "gtest/gtest.h"
#include "tenancy/limits.h"
#include "testing/fake_clock.h"
#include "testing/memory_store.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeClock;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;

absl::Status Anyone(const v1::ApiKey&) { return absl::OkStatus(); }

class LocalKeysTest : public ::testing::Test {
 protected:
  LocalKeysTest() { Restart(); }

  // The store's thread, with the ring as a start of the daemon fills it.
  void Restart() {
    store_.reset();
    auto store = std::make_unique<MemoryStore>(disk_);
    ring_ = std::make_unique<KeyRing>("pepper");
    const auto records = store->keys().AllKeys();
    for (const auto& record : *records) ring_->Put(record);
    store_ = std::make_unique<StoreThread>(std::move(store));
    keys_ = std::make_unique<LocalKeys>(*store_, *ring_, clock_);
  }

  template <typename T>
  static std::pair<Keys::Done<absl::StatusOr<T>>, std::future<absl::StatusOr<T>>> Wait() {
    auto promise = std::make_shared<std::promise<absl::StatusOr<T>>>();
    auto future = promise->get_future();
    return {[promise](absl::StatusOr<T> value) { promise->set_value(std::move(value)); },
            std::move(future)};
  }
  absl::StatusOr<Keys::NewText> Create(const std::string& tenant = "tenants/studio") {
    v1::ApiKey key;
    key.set_tenant(tenant);
    key.set_role(tenant.empty() ? v1::ROLE_OPERATOR : v1::ROLE_TENANT_USER);
    auto [done, answer] = Wait<Keys::NewText>();
    keys_->CreateKey(std::move(key), std::move(done));
    return answer.get();
  }
  absl::StatusOr<Keys::NewText> Rotate(const std::string& name, absl::Duration overlap,
                                       Keys::Check check = &Anyone) {
    auto [done, answer] = Wait<Keys::NewText>();
    keys_->RotateKey(name, overlap, std::move(check), std::move(done));
    return answer.get();
  }
  absl::StatusOr<v1::ApiKey> Revoke(const std::string& name, Keys::Check check = &Anyone) {
    auto [done, answer] = Wait<v1::ApiKey>();
    keys_->RevokeKey(name, std::move(check), std::move(done));
    return answer.get();
  }
  bool Opens(const std::string& text) { return ring_->Verify(text, clock_.WallTime()).ok(); }

  FakeClock clock_;
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<KeyRing> ring_;
  std::unique_ptr<StoreThread> store_;
  std::unique_ptr<LocalKeys> keys_;
};

TEST_F(LocalKeysTest, ANewKeyOpensTheServerNowAndAfterARestart) {
  const auto created = Create();
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->key.state(), v1::ApiKey::STATE_ACTIVE);
  EXPECT_EQ(created->text.find("drk_" + created->key.name().substr(5) + "_"), 0u);
  EXPECT_TRUE(Opens(created->text));
  Restart();
  EXPECT_TRUE(Opens(created->text));
  EXPECT_EQ(keys_->ListKeys("tenants/studio", "", 10).size(), 1u);
}

TEST_F(LocalKeysTest, TheStoreNeverSeesASecret) {
  const auto created = Create();
  ASSERT_TRUE(created.ok());
  const std::string secret = created->text.substr(created->text.rfind('_') + 1);
  store_.reset();
  MemoryStore store(disk_);
  const auto records = store.keys().AllKeys();
  ASSERT_EQ(records->size(), 1u);
  EXPECT_EQ(records->front().SerializeAsString().find(secret), std::string::npos);
}

TEST_F(LocalKeysTest, RotatingKeepsTheTextBeforeForAWhileAndEndsTheOneBeforeThat) {
  const auto first = Create();
  ASSERT_TRUE(first.ok());
  const auto second = Rotate(first->key.name(), absl::Hours(1));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->key.name(), first->key.name());
  EXPECT_TRUE(Opens(first->text));
  EXPECT_TRUE(Opens(second->text));
  const auto third = Rotate(first->key.name(), absl::Hours(1));
  ASSERT_TRUE(third.ok());
  EXPECT_FALSE(Opens(first->text));
  EXPECT_TRUE(Opens(second->text));
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(Opens(second->text));
  EXPECT_TRUE(Opens(third->text));
  const auto last = Rotate(first->key.name(), absl::ZeroDuration());
  ASSERT_TRUE(last.ok());
  EXPECT_FALSE(Opens(third->text));
  EXPECT_TRUE(Opens(last->text));
}

TEST_F(LocalKeysTest, RevokedIsForGood) {
  const auto created = Create();
  ASSERT_TRUE(created.ok());
  const auto revoked = Revoke(created->key.name());
  ASSERT_TRUE(revoked.ok()) << revoked.status();
  EXPECT_EQ(revoked->state(), v1::ApiKey::STATE_REVOKED);
  EXPECT_FALSE(Opens(created->text));
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Revoke(created->key.name())->revoke_time().seconds(), revoked->revoke_time().seconds());
  EXPECT_EQ(ErrorReason(Rotate(created->key.name(), absl::Hours(1)).status()), "KEY_ENDED");
  Restart();
  EXPECT_FALSE(Opens(created->text));
  EXPECT_EQ(keys_->GetKey(created->key.name())->state(), v1::ApiKey::STATE_REVOKED);
}

TEST_F(LocalKeysTest, WhoMayNotChangesNothing) {
  const auto created = Create();
  ASSERT_TRUE(created.ok());
  const auto nobody = [](const v1::ApiKey& key) -> absl::Status {
    EXPECT_EQ(key.tenant(), "tenants/studio");
    return Error(absl::StatusCode::kNotFound, "KEY_NOT_FOUND", "there is no such key");
  };
  EXPECT_EQ(ErrorReason(Revoke(created->key.name(), nobody).status()), "KEY_NOT_FOUND");
  EXPECT_EQ(ErrorReason(Rotate(created->key.name(), absl::Hours(1), nobody).status()),
            "KEY_NOT_FOUND");
  EXPECT_TRUE(Opens(created->text));
  EXPECT_EQ(ErrorReason(Revoke("keys/0000").status()), "KEY_NOT_FOUND");
}

TEST_F(LocalKeysTest, ATenantsKeysAreBoundedAndThoseLongEndedMakeRoom) {
  std::string first;
  for (int i = 0; i < tenancy_limits::kKeysPerTenantMax; ++i) {
    const auto created = Create();
    ASSERT_TRUE(created.ok()) << created.status();
    if (first.empty()) first = created->key.name();
  }
  EXPECT_EQ(ErrorReason(Create().status()), "KEYS_TOO_MANY");
  EXPECT_TRUE(Create("tenants/other").ok());
  EXPECT_TRUE(Create("").ok());
  ASSERT_TRUE(Revoke(first).ok());
  EXPECT_EQ(ErrorReason(Create().status()), "KEYS_TOO_MANY");
  clock_.Advance(tenancy_limits::kEndedKept + absl::Seconds(1));
  EXPECT_TRUE(Create().ok());
  EXPECT_EQ(ErrorReason(keys_->GetKey(first).status()), "KEY_NOT_FOUND");
}

TEST_F(LocalKeysTest, WhatIsNotDurableOpensNothing) {
  disk_->FailCommitAfter(0);
  EXPECT_FALSE(Create().ok());
  EXPECT_TRUE(keys_->ListKeys("", "", 10).empty());
}

}  // namespace
}  // namespace darkroom
