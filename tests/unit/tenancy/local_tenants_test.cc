#include "tenancy/local_tenants.h"

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tenancy/local_keys.h"
#include "testing/fake_clock.h"
#include "testing/memory_store.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeClock;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::testing::ElementsAre;

class LocalTenantsTest : public ::testing::Test {
 protected:
  LocalTenantsTest() { Restart(); }

  // A start of the daemon: directory and ring as the store has them.
  void Restart() {
    if (store_ != nullptr) store_->Stop();
    auto store = std::make_unique<MemoryStore>(disk_);
    directory_ = std::make_unique<TenantDirectory>(std::vector<std::string>{"local"});
    ring_ = std::make_unique<KeyRing>("pepper");
    const auto records = store->tenants().AllTenants();
    for (const auto& record : *records) directory_->Put(record);
    const auto keys = store->keys().AllKeys();
    for (const auto& record : *keys) ring_->Put(record);
    store_ = std::make_unique<StoreThread>(std::move(store));
    tenants_ = std::make_unique<LocalTenants>(
        *store_, *directory_, *ring_, clock_,
        LocalTenants::Followers{
            .changed = [this](const v1::Tenant& tenant) { told_.push_back(tenant.name()); },
            .stop =
                [this](const std::string& id, auto done) {
                  told_.push_back("stop " + id);
                  if (!holds_stop_) std::move(done)(absl::OkStatus());
                },
            .delete_bytes =
                [this](const std::string& id, auto done) {
                  told_.push_back("bytes of " + id);
                  std::move(done)(absl::OkStatus());
                }});
  }
  void TearDown() override { store_->Stop(); }

  template <typename T>
  static std::pair<Tenants::Done<T>, std::future<T>> Wait() {
    auto promise = std::make_shared<std::promise<T>>();
    auto future = promise->get_future();
    return {[promise](T value) { promise->set_value(std::move(value)); }, std::move(future)};
  }
  absl::StatusOr<v1::Tenant> Create(const std::string& id, const std::string& request_id = "",
                                    const std::string& hash = "h", bool validate_only = false) {
    Tenants::NewTenant create;
    create.tenant.set_name("tenants/" + id);
    create.tenant.set_weight(1);
    create.request_id = request_id;
    create.request_hash = hash;
    create.validate_only = validate_only;
    auto [done, answer] = Wait<absl::StatusOr<v1::Tenant>>();
    tenants_->CreateTenant(std::move(create), std::move(done));
    return answer.get();
  }
  absl::StatusOr<v1::Tenant> SetWeight(const std::string& id, double weight,
                                       bool validate_only = false) {
    auto [done, answer] = Wait<absl::StatusOr<v1::Tenant>>();
    tenants_->UpdateTenant(
        "tenants/" + id,
        [weight](v1::Tenant& tenant) {
          tenant.set_weight(weight);
          return absl::OkStatus();
        },
        validate_only, std::move(done));
    return answer.get();
  }
  absl::Status Delete(Tenants::Deletion deletion) {
    auto [done, answer] = Wait<absl::Status>();
    tenants_->DeleteTenant(std::move(deletion), std::move(done));
    return answer.get();
  }
  // Something that waits, and nothing ever ends it.
  void Queue(const std::string& id) {
    std::promise<void> written;
    store_->Post(StoreThread::Write{[&](GenerationStore& store) {
                                      GenerationStore::NewGeneration create;
                                      create.generation.set_name("tenants/" + id +
                                                                 "/generations/g");
                                      create.generation.set_state(v1::Generation::STATE_QUEUED);
                                      EXPECT_TRUE(store.Create(create).ok());
                                    },
                                    [&](const absl::Status&) { written.set_value(); }});
    written.get_future().get();
  }

  FakeClock clock_;
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<TenantDirectory> directory_;
  std::unique_ptr<KeyRing> ring_;
  std::unique_ptr<StoreThread> store_;
  std::unique_ptr<LocalTenants> tenants_;
  std::vector<std::string> told_;
  bool holds_stop_ = false;
};

TEST_F(LocalTenantsTest, WhatIsMadeIsKnownEverywhereAndAfterARestart) {
  const auto made = Create("studio");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->state(), v1::Tenant::STATE_ACTIVE);
  EXPECT_TRUE(directory_->Has("studio"));
  EXPECT_THAT(told_, ElementsAre("tenants/studio"));
  EXPECT_EQ(ErrorReason(Create("studio").status()), "TENANT_EXISTS");
  EXPECT_EQ(ErrorReason(Create("local").status()), "TENANT_EXISTS");
  Restart();
  EXPECT_EQ(directory_->Find("studio")->etag(), made->etag());
}

TEST_F(LocalTenantsTest, ARepeatedRequestMakesOne) {
  const auto first = Create("studio", "r");
  const auto again = Create("studio", "r");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->etag(), first->etag());
  EXPECT_EQ(ErrorReason(Create("other", "r", "another hash").status()), "REQUEST_ID_REUSED");
  EXPECT_FALSE(directory_->Has("other"));
}

TEST_F(LocalTenantsTest, ValidateOnlyChangesNothing) {
  EXPECT_EQ(Create("studio", "", "h", /*validate_only=*/true)->name(), "tenants/studio");
  EXPECT_FALSE(directory_->Has("studio"));
  ASSERT_TRUE(Create("studio").ok());
  EXPECT_EQ(SetWeight("studio", 5, /*validate_only=*/true)->weight(), 5);
  EXPECT_EQ(directory_->Find("studio")->weight(), 1);
  EXPECT_TRUE(Delete({.name = "tenants/studio", .validate_only = true}).ok());
  EXPECT_TRUE(directory_->Has("studio"));
}

TEST_F(LocalTenantsTest, AChangeHoldsAtOnceAndChangesTheEtag) {
  const auto made = Create("studio");
  clock_.Advance(absl::Seconds(1));
  const auto changed = SetWeight("studio", 7);
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_NE(changed->etag(), made->etag());
  EXPECT_EQ(directory_->Find("studio")->weight(), 7);
  EXPECT_THAT(told_, ElementsAre("tenants/studio", "tenants/studio"));
  EXPECT_EQ(ErrorReason(SetWeight("nobody", 1).status()), "TENANT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(SetWeight("local", 1).status()), "TENANT_CONFIGURED");
  Restart();
  EXPECT_EQ(directory_->Find("studio")->weight(), 7);
}

TEST_F(LocalTenantsTest, OneWithWorkIsDeletedByForceOnly) {
  const auto made = Create("studio");
  Queue("studio");
  EXPECT_EQ(ErrorReason(Delete({.name = "tenants/studio"})), "TENANT_BUSY");
  EXPECT_EQ(ErrorReason(Delete({.name = "tenants/studio", .etag = "old", .force = true})),
            "ETAG_MISMATCH");
  EXPECT_EQ(ErrorReason(Delete({.name = "tenants/local"})), "TENANT_CONFIGURED");
  EXPECT_EQ(ErrorReason(Delete({.name = "tenants/nobody"})), "TENANT_NOT_FOUND");
  told_.clear();
  EXPECT_TRUE(Delete({.name = "tenants/studio", .etag = made->etag(), .force = true}).ok());
  // In this order: what runs could write more, and rows name the bytes.
  EXPECT_THAT(told_, ElementsAre("stop studio", "bytes of studio"));
  EXPECT_FALSE(directory_->Get("tenants/studio").ok());
  // A later one of the same name finds nothing of it.
  ASSERT_TRUE(Create("studio").ok());
  EXPECT_TRUE(Delete({.name = "tenants/studio"}).ok());
}

TEST_F(LocalTenantsTest, ItsKeysGoWithIt) {
  ASSERT_TRUE(Create("studio").ok());
  LocalKeys keys(*store_, *ring_, clock_);
  const auto make = [&](const std::string& tenant) {
    v1::ApiKey key;
    key.set_tenant(tenant);
    key.set_role(v1::ROLE_TENANT_USER);
    auto [done, answer] = Wait<absl::StatusOr<Keys::NewText>>();
    keys.CreateKey(std::move(key), std::move(done));
    return answer.get()->text;
  };
  const std::string studio = make("tenants/studio");
  const std::string local = make("tenants/local");
  ASSERT_TRUE(Delete({.name = "tenants/studio"}).ok());
  EXPECT_FALSE(ring_->Verify(studio, clock_.WallTime()).ok());
  EXPECT_TRUE(ring_->Verify(local, clock_.WallTime()).ok());
  ASSERT_TRUE(Create("studio").ok());
  EXPECT_FALSE(ring_->Verify(studio, clock_.WallTime()).ok());
  Restart();
  EXPECT_FALSE(ring_->Verify(studio, clock_.WallTime()).ok());
}

TEST_F(LocalTenantsTest, ADeletionThatACrashBrokeOffGoesOn) {
  ASSERT_TRUE(Create("studio").ok());
  Queue("studio");
  holds_stop_ = true;
  tenants_->DeleteTenant({.name = "tenants/studio", .force = true}, [](absl::Status) {});
  while (directory_->Has("studio")) std::this_thread::yield();
  Restart();
  EXPECT_FALSE(directory_->Has("studio"));
  EXPECT_EQ(directory_->Get("tenants/studio")->state(), v1::Tenant::STATE_DELETING);
  EXPECT_EQ(ErrorReason(Create("studio").status()), "TENANT_DELETING");
  EXPECT_EQ(ErrorReason(SetWeight("studio", 2).status()), "TENANT_DELETING");
  holds_stop_ = false;
  tenants_->Resume();
  while (directory_->Get("tenants/studio").ok()) std::this_thread::yield();
  EXPECT_TRUE(Create("studio").ok());
}

}  // namespace
}  // namespace darkroom
