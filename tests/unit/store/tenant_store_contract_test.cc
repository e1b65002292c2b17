// The contract of include/darkroom/tenant_store.h, run against every implementation.

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "darkroom/store.h"
#include "gtest/gtest.h"
#include "store/sqlite_store.h"
#include "testing/memory_store.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::TempFolder;

enum class Kind { kSqlite, kMemory };

class TenantContract : public ::testing::TestWithParam<Kind> {
 protected:
  TenantContract() { Reopen(); }

  // As a restart of the daemon does.
  void Reopen() {
    store_.reset();
    if (GetParam() == Kind::kMemory) {
      store_ = std::make_unique<MemoryStore>(disk_);
      return;
    }
    SqliteStoreOptions options;
    options.free_bytes_min = 0;
    auto opened = OpenSqliteStore(folder_.path(), options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  static v1::TenantRecord Record(const std::string& id, const std::string& request_id = "") {
    v1::TenantRecord record;
    record.mutable_tenant()->set_name("tenants/" + id);
    record.set_request_id(request_id);
    return record;
  }
  absl::Status Put(const v1::TenantRecord& record) {
    return store_->Transact([&] { return store_->tenants().PutTenant(record); });
  }
  // A generation of the tenant, ended or not, with an event and a request id.
  void PutGeneration(const std::string& tenant, const std::string& id, bool ended) {
    GenerationStore::NewGeneration create;
    create.generation.set_name(absl::StrCat("tenants/", tenant, "/generations/", id));
    create.generation.set_state(v1::Generation::STATE_QUEUED);
    create.request_id = absl::StrCat("request-", tenant, id);
    create.request_hash = "hash";
    ASSERT_TRUE(store_->Create(create).ok());
    v1::GenerateEvent event;
    event.set_sequence(1);
    event.set_generation(create.generation.name());
    if (ended) create.generation.set_state(v1::Generation::STATE_FAILED);
    ASSERT_TRUE(store_->Update(create.generation, {event}).ok());
  }
  void PutAsset(const std::string& tenant) {
    v1::Asset asset;
    asset.set_sha256(std::string(64, 'a'));
    asset.set_name(absl::StrCat("tenants/", tenant, "/assets/", asset.sha256()));
    ASSERT_TRUE(
        store_
            ->Transact([&] {
              return store_->assets().PutAsset(asset, now_, now_ + absl::Hours(1), 1000).status();
            })
            .ok());
  }
  int64_t Purge(const std::string& name, int max) {
    absl::StatusOr<int64_t> gone;
    EXPECT_TRUE(store_
                    ->Transact([&] {
                      gone = store_->tenants().PurgeContent(name, max);
                      return gone.status();
                    })
                    .ok());
    return *gone;
  }

  const absl::Time now_ = absl::Now();
  TempFolder folder_;
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<GenerationStore> store_;
};

TEST_P(TenantContract, KeepsWhatWasPutAndReplacesIt) {
  v1::TenantRecord record = Record("b", "r1");
  record.mutable_tenant()->set_weight(3);
  ASSERT_TRUE(Put(record).ok());
  ASSERT_TRUE(Put(Record("a")).ok());
  Reopen();
  const auto found = store_->tenants().GetTenant("tenants/b");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->SerializeAsString(), record.SerializeAsString());
  EXPECT_EQ(ErrorReason(store_->tenants().GetTenant("tenants/c").status()), "TENANT_NOT_FOUND");
  record.mutable_tenant()->set_weight(4);
  ASSERT_TRUE(Put(record).ok());
  const auto all = store_->tenants().AllTenants();
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0].tenant().name(), "tenants/a");
  EXPECT_EQ((*all)[1].tenant().weight(), 4);
  EXPECT_EQ(*store_->tenants().CountTenants(), 2);
}

TEST_P(TenantContract, IsFoundByTheRequestThatMadeIt) {
  ASSERT_TRUE(Put(Record("a", "r1")).ok());
  ASSERT_TRUE(Put(Record("b")).ok());
  ASSERT_TRUE(Put(Record("c")).ok());
  EXPECT_EQ(store_->tenants().FindTenantRequest("r1")->tenant().name(), "tenants/a");
  EXPECT_EQ(ErrorReason(store_->tenants().FindTenantRequest("r2").status()), "TENANT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(store_->tenants().FindTenantRequest("").status()), "TENANT_NOT_FOUND");
}

TEST_P(TenantContract, TakesBackWhatIsNotCommitted) {
  ASSERT_TRUE(Put(Record("kept")).ok());
  EXPECT_FALSE(store_
                   ->Transact([&] {
                     EXPECT_TRUE(store_->tenants().PutTenant(Record("a")).ok());
                     EXPECT_TRUE(store_->tenants().RemoveTenant("tenants/kept").ok());
                     return absl::AbortedError("on purpose");
                   })
                   .ok());
  EXPECT_EQ(*store_->tenants().CountTenants(), 1);
  EXPECT_TRUE(store_->tenants().GetTenant("tenants/kept").ok());
}

TEST_P(TenantContract, PurgesATenantsContentInPiecesAndNobodyElses) {
  for (int i = 0; i < 5; ++i) PutGeneration("studio", absl::StrCat("g", i), i > 1);
  PutGeneration("rival", "g0", false);
  PutAsset("studio");
  PutAsset("rival");
  EXPECT_EQ(*store_->tenants().CountUnfinished("tenants/studio"), 2);
  EXPECT_EQ(*store_->tenants().CountUnfinished("tenants/rival"), 1);

  EXPECT_GT(Purge("tenants/studio", 2), 0);
  int rounds = 0;
  while (Purge("tenants/studio", 2) > 0) ASSERT_LT(++rounds, 20);
  EXPECT_GE(rounds, 1) << "five do not go in one piece of two";
  EXPECT_EQ(*store_->tenants().CountUnfinished("tenants/studio"), 0);
  EXPECT_TRUE(store_->List({.tenant = "studio"})->generations.empty());
  EXPECT_EQ(ErrorReason(store_->EventsAfter("tenants/studio/generations/g1", 0).status()),
            "GENERATION_NOT_FOUND");
  EXPECT_EQ(ErrorReason(store_->FindRequest("studio", "request-studiog1", "hash").status()),
            "REQUEST_UNKNOWN")
      << "a later tenant of this name finds no trace";
  EXPECT_TRUE(store_->assets().ListAssets({.tenant = "studio"}, now_)->assets.empty());

  EXPECT_EQ(store_->List({.tenant = "rival"})->generations.size(), 1u);
  EXPECT_EQ(store_->EventsAfter("tenants/rival/generations/g0", 0)->size(), 1u);
  EXPECT_EQ(store_->assets().ListAssets({.tenant = "rival"}, now_)->assets.size(), 1u);
}

TEST_P(TenantContract, RemovesATenantsKeysAndNobodyElses) {
  const auto put = [&](const std::string& id, const std::string& tenant) {
    v1::ApiKeyRecord record;
    record.mutable_key()->set_name("keys/" + id);
    record.mutable_key()->set_tenant(tenant);
    ASSERT_TRUE(store_->Transact([&] { return store_->keys().PutKey(record); }).ok());
  };
  put("a", "tenants/studio");
  put("b", "tenants/studio");
  put("c", "tenants/rival");
  put("d", "");
  absl::StatusOr<std::vector<std::string>> removed;
  ASSERT_TRUE(store_
                  ->Transact([&] {
                    removed = store_->keys().RemoveKeysOf("tenants/studio");
                    return removed.status();
                  })
                  .ok());
  EXPECT_EQ(*removed, (std::vector<std::string>{"keys/a", "keys/b"}));
  EXPECT_EQ(*store_->keys().CountKeys(""), 2);
}

INSTANTIATE_TEST_SUITE_P(Every, TenantContract, ::testing::Values(Kind::kSqlite, Kind::kMemory),
                         [](const auto& info) {
                           return info.param == Kind::kSqlite ? "Sqlite" : "Memory";
                         });

}  // namespace
}  // namespace darkroom
