// The contract of include/darkroom/key_store.h, run against every implementation.

#include <memory>
#include <string>

#include "base/error.h"
#include "base/wall_time.h"
#include "darkroom/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/sqlite_store.h"
#include "testing/memory_store.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::TempFolder;
using ::testing::SizeIs;

enum class Kind { kSqlite, kMemory };

class KeyContract : public ::testing::TestWithParam<Kind> {
 protected:
  KeyContract() { Reopen(); }

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

  static v1::ApiKeyRecord Record(const std::string& id, const std::string& tenant) {
    v1::ApiKeyRecord record;
    record.mutable_key()->set_name("keys/" + id);
    record.mutable_key()->set_tenant(tenant);
    record.add_secrets()->set_hash(std::string("\0hash", 5));
    return record;
  }

  absl::Status Put(const v1::ApiKeyRecord& record) {
    return store_->Transact([&] { return store_->keys().PutKey(record); });
  }

  TempFolder folder_;
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<GenerationStore> store_;
};

TEST_P(KeyContract, KeepsWhatWasPut) {
  const v1::ApiKeyRecord record = Record("b", "tenants/studio");
  ASSERT_TRUE(Put(record).ok());
  ASSERT_TRUE(Put(Record("a", "")).ok());
  Reopen();
  const auto found = store_->keys().GetKey("keys/b");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->SerializeAsString(), record.SerializeAsString());
  EXPECT_EQ(ErrorReason(store_->keys().GetKey("keys/c").status()), "KEY_NOT_FOUND");
  const auto all = store_->keys().AllKeys();
  ASSERT_TRUE(all.ok());
  ASSERT_THAT(*all, SizeIs(2));
  EXPECT_EQ((*all)[0].key().name(), "keys/a");
}

TEST_P(KeyContract, ReplacesTheRecordOfTheSameName) {
  ASSERT_TRUE(Put(Record("a", "tenants/studio")).ok());
  ASSERT_TRUE(Put(Record("a", "tenants/other")).ok());
  EXPECT_EQ(*store_->keys().CountKeys(""), 1);
  EXPECT_EQ(*store_->keys().CountKeys("tenants/studio"), 0);
  EXPECT_EQ(*store_->keys().CountKeys("tenants/other"), 1);
}

TEST_P(KeyContract, TakesBackWhatIsNotCommitted) {
  const absl::Status failed = store_->Transact([&] {
    EXPECT_TRUE(store_->keys().PutKey(Record("a", "")).ok());
    return absl::AbortedError("on purpose");
  });
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(*store_->keys().CountKeys(""), 0);
}

TEST_P(KeyContract, PurgesWhatEndedBefore) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  v1::ApiKeyRecord revoked = Record("revoked", "");
  *revoked.mutable_key()->mutable_revoke_time() = ToTimestamp(now - absl::Hours(2));
  // Revoked late, though it would have expired before.
  *revoked.mutable_key()->mutable_expire_time() = ToTimestamp(now + absl::Hours(9));
  v1::ApiKeyRecord expired = Record("expired", "");
  *expired.mutable_key()->mutable_expire_time() = ToTimestamp(now - absl::Hours(2));
  v1::ApiKeyRecord recent = Record("recent", "");
  *recent.mutable_key()->mutable_revoke_time() = ToTimestamp(now);
  for (const auto& record : {revoked, expired, recent, Record("lasting", "")}) {
    ASSERT_TRUE(Put(record).ok());
  }
  absl::StatusOr<std::vector<std::string>> purged;
  ASSERT_TRUE(store_
                  ->Transact([&] {
                    purged = store_->keys().PurgeKeys(now - absl::Hours(1));
                    return purged.status();
                  })
                  .ok());
  EXPECT_THAT(*purged, ::testing::UnorderedElementsAre("keys/expired", "keys/revoked"));
  EXPECT_EQ(*store_->keys().CountKeys(""), 2);
}

INSTANTIATE_TEST_SUITE_P(Every, KeyContract, ::testing::Values(Kind::kSqlite, Kind::kMemory),
                         [](const auto& info) {
                           return info.param == Kind::kSqlite ? "Sqlite" : "Memory";
                         });

}  // namespace
}  // namespace darkroom
