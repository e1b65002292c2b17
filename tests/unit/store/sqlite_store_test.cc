// What OpenSqliteStore accepts and refuses, and how a store shows damage.

#include "store/sqlite_store.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/store_messages.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::MakeGeneration;
using ::darkroom::testing::NameOf;
using ::darkroom::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::Not;

class SqliteStoreTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<GenerationStore>> Open() {
    SqliteStoreOptions options;
    options.free_bytes_min = 0;
    return OpenSqliteStore(folder_.path(), options);
  }

  // A store with something in it, closed.
  void MakeStore(int generations = 5) {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    for (int i = 0; i < generations; ++i) {
      ASSERT_TRUE((*store)->Create({MakeGeneration(absl::StrCat("g", i)), "", ""}).ok());
    }
  }

  void ExpectRefused(absl::StatusCode code, const std::string& reason) {
    const auto store = Open();
    EXPECT_EQ(store.status().code(), code) << store.status();
    EXPECT_EQ(ErrorReason(store.status()), reason);
    EXPECT_THAT(std::string(store.status().message()), Not(HasSubstr(folder_.path())));
  }

  std::string database() const { return folder_.path() + "/darkroom.db"; }

  // Runs SQL on the closed database, as another program would.
  void Sql(const std::string& sql) {
    sqlite3* connection = nullptr;
    ASSERT_EQ(sqlite3_open(database().c_str(), &connection), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, &message), SQLITE_OK)
        << message;
    sqlite3_free(message);
    ASSERT_EQ(sqlite3_close(connection), SQLITE_OK);
  }

  std::string ReadDatabase() {
    std::ifstream in(database(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  void WriteDatabase(const std::string& bytes) {
    std::ofstream(database(), std::ios::binary | std::ios::trunc) << bytes;
  }

  TempFolder folder_;
};

TEST_F(SqliteStoreTest, OneServerPerFolder) {
  auto first = Open();
  ASSERT_TRUE(first.ok()) << first.status();
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "STORE_IN_USE");
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr(absl::StrCat(::getpid())));
  ASSERT_TRUE((*first)->Create({MakeGeneration("a"), "", ""}).ok()) << "and is not disturbed";
  first->reset();
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteStoreTest, NoOtherProgramBesides) {
  MakeStore();
  {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    sqlite3* other = nullptr;
    ASSERT_EQ(sqlite3_open(database().c_str(), &other), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(other, "SELECT count(*) FROM generations", nullptr, nullptr, nullptr),
              SQLITE_BUSY);
    sqlite3_close(other);
  }
  // And the other way round.
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "STORE_IN_USE");
  sqlite3_close(other);
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteStoreTest, NeedsFreeSpace) {
  SqliteStoreOptions options;
  options.free_bytes_min = int64_t{1} << 60;
  const auto store = OpenSqliteStore(folder_.path(), options);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kResourceExhausted) << store.status();
  EXPECT_EQ(ErrorReason(store.status()), "DISK_FULL");
  EXPECT_FALSE(std::filesystem::exists(database()));
  EXPECT_TRUE(Open().ok()) << "the refused one holds nothing";
}

TEST_F(SqliteStoreTest, MakesItsFolderForItselfAlone) {
  const std::string path = folder_.path() + "/state/darkroom";
  SqliteStoreOptions options;
  options.free_bytes_min = 0;
  ASSERT_TRUE(OpenSqliteStore(path, options).ok());
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700);

  // By way of a link is as good.
  ASSERT_EQ(::symlink(path.c_str(), (folder_.path() + "/link").c_str()), 0);
  EXPECT_TRUE(OpenSqliteStore(folder_.path() + "/link", options).ok());
  std::ofstream(folder_.path() + "/file") << "x";
  const auto refused = OpenSqliteStore(folder_.path() + "/file", options);
  EXPECT_EQ(ErrorReason(refused.status()), "STORE_NOT_WRITABLE") << refused.status();
}

TEST_F(SqliteStoreTest, DatabaseIsNotReachedThroughALink) {
  const TempFolder elsewhere;
  const std::string target = elsewhere.path() + "/target.db";
  std::ofstream(target).flush();
  ASSERT_EQ(::symlink(target.c_str(), database().c_str()), 0);
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "STORE_NOT_WRITABLE");
  EXPECT_EQ(std::filesystem::file_size(target), 0u);
}

TEST_F(SqliteStoreTest, RefusesForeignDatabasesAndLeavesThemAlone) {
  Sql("CREATE TABLE theirs(a); INSERT INTO theirs VALUES (1)");
  std::string before = ReadDatabase();
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "STORE_FOREIGN");
  EXPECT_EQ(ReadDatabase(), before);

  Sql("PRAGMA application_id = 7");
  before = ReadDatabase();
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "STORE_FOREIGN");
  EXPECT_EQ(ReadDatabase(), before);
}

TEST_F(SqliteStoreTest, RefusesNewerVersions) {
  MakeStore();
  Sql("PRAGMA user_version = 1000");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "STORE_VERSION_UNSUPPORTED");
  Sql("PRAGMA user_version = 4");
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteStoreTest, BringsAnOlderVersionUpAndKeepsWhatItHas) {
  MakeStore();
  // As it was before there were assets, keys and tenants.
  Sql("DROP TABLE assets; DROP TABLE api_keys; DROP TABLE tenants; PRAGMA user_version = 1");
  const auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE((*store)->Get(NameOf("g3")).ok());
  v1::Asset asset;
  asset.set_sha256(std::string(64, 'a'));
  asset.set_name("tenants/local/assets/" + asset.sha256());
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  const absl::Status put = (*store)->Transact(
      [&] { return (*store)->assets().PutAsset(asset, now, now + absl::Hours(1), 1000).status(); });
  EXPECT_TRUE(put.ok()) << put;
  EXPECT_EQ(*(*store)->keys().CountKeys(""), 0);
  EXPECT_EQ(*(*store)->tenants().CountTenants(), 0);
}

TEST_F(SqliteStoreTest, AStoreWithKeysGainsTheTableOfTenants) {
  MakeStore();
  Sql("DROP TABLE tenants; PRAGMA user_version = 3");
  const auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE((*store)->Get(NameOf("g3")).ok());
  v1::TenantRecord record;
  record.mutable_tenant()->set_name("tenants/studio");
  EXPECT_TRUE((*store)->Transact([&] { return (*store)->tenants().PutTenant(record); }).ok());
  EXPECT_EQ(*(*store)->tenants().CountTenants(), 1);
}

TEST_F(SqliteStoreTest, RefusesWhatIsNoDatabase) {
  WriteDatabase(std::string(10000, 'x'));
  ExpectRefused(absl::StatusCode::kDataLoss, "STORE_CORRUPT");
  WriteDatabase("short");
  ExpectRefused(absl::StatusCode::kDataLoss, "STORE_CORRUPT");
}

TEST_F(SqliteStoreTest, AnEmptyFileIsANewStore) {
  WriteDatabase("");
  EXPECT_TRUE(Open().ok());
}

// Damage anywhere is refused at the start, found when read, or harmless; it never crashes, and what
// is read is never wrong.
TEST_F(SqliteStoreTest, FlippedBytesAreNeverBelieved) {
  MakeStore(60);
  const std::string good = ReadDatabase();
  ASSERT_GT(good.size(), 40'000u);
  v1::Generation expected;
  {
    auto store = Open();
    ASSERT_TRUE(store.ok());
    expected = *(*store)->Get(NameOf("g7"));
  }
  int refused = 0;
  int found = 0;
  int harmless = 0;
  for (size_t at = 0; at < good.size(); at += 613) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    WriteDatabase(bad);
    std::filesystem::remove(database() + "-wal");
    auto store = Open();
    if (!store.ok()) {
      ++refused;
      continue;
    }
    bool is_sound = true;
    for (int i = 0; i < 60; ++i) {
      const auto generation = (*store)->Get(NameOf(absl::StrCat("g", i)));
      is_sound = is_sound && generation.ok();
      if (!generation.ok()) continue;
      EXPECT_EQ(generation->name(), NameOf(absl::StrCat("g", i)));
      EXPECT_EQ(generation->request().ShortDebugString(), expected.request().ShortDebugString());
    }
    is_sound ? ++harmless : ++found;
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(found, 0);
  EXPECT_GT(harmless, 0) << "unused parts of pages";
}

TEST_F(SqliteStoreTest, DamagedContentFailsAloneAndByName) {
  MakeStore();
  Sql("UPDATE generations SET content = x'0a03616263' WHERE id = 'g2'");
  auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  const auto damaged = (*store)->Get(NameOf("g2"));
  EXPECT_EQ(damaged.status().code(), absl::StatusCode::kDataLoss) << damaged.status();
  EXPECT_EQ(ErrorReason(damaged.status()), "STORE_CORRUPT");
  EXPECT_TRUE((*store)->Get(NameOf("g1")).ok()) << "the store goes on";
  EXPECT_TRUE((*store)->Delete(NameOf("g2")).ok());
}

TEST_F(SqliteStoreTest, LogDoesNotGrowWithoutBound) {
  SqliteStoreOptions options;
  options.free_bytes_min = 0;
  auto store = OpenSqliteStore(folder_.path(), options);
  ASSERT_TRUE(store.ok());
  uintmax_t largest = 0;
  for (int group = 0; group < 60; ++group) {
    ASSERT_TRUE((*store)
                    ->Transact([&] {
                      for (int i = 0; i < 250; ++i) {
                        const std::string id = absl::StrCat("g", group, "-", i);
                        EXPECT_TRUE((*store)->Create({MakeGeneration(id), id, "h"}).ok());
                      }
                      return absl::OkStatus();
                    })
                    .ok());
    largest = std::max(largest, std::filesystem::file_size(database() + "-wal"));
  }
  // The bound, and the one group that went beyond it.
  EXPECT_LT(largest, uintmax_t{4096} * (store_limits::kWalPagesMax + 500));
}

}  // namespace
}  // namespace darkroom
