// The contract of include/darkroom/asset_store.h, run against every implementation.

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "darkroom/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/asset_rules.h"
#include "store/blob_key.h"
#include "store/sqlite_store.h"
#include "testing/fake_clock.h"
#include "testing/memory_store.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeClock;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::TempFolder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kQuota = 1000;

enum class Kind { kSqlite, kMemory };

class AssetContract : public ::testing::TestWithParam<Kind> {
 protected:
  AssetContract() { Reopen(); }

  // As a restart of the daemon does.
  void Reopen() {
    store_.reset();
    if (GetParam() == Kind::kMemory) {
      store_ = std::make_unique<MemoryStore>(disk_, clock_);
      return;
    }
    SqliteStoreOptions options;
    options.clock = &clock_;
    options.free_bytes_min = 0;
    auto opened = OpenSqliteStore(folder_.path(), options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  AssetStore& assets() { return store_->assets(); }
  static std::string Digest(const std::string& content) { return Sha256Hex(content); }

  absl::StatusOr<v1::Asset> Put(const std::string& content, int64_t bytes = 10,
                                absl::Duration life = absl::Hours(1),
                                const std::string& tenant = "local") {
    v1::Asset asset;
    asset.set_sha256(Digest(content));
    asset.set_name(AssetName{tenant, asset.sha256()}.ToString());
    asset.set_size_bytes(bytes);
    asset.set_media_type("image/png");
    asset.set_width(64);
    asset.set_height(48);
    asset.set_has_alpha(true);
    absl::StatusOr<v1::Asset> put = absl::InternalError("not run");
    const absl::Status committed = store_->Transact([&] {
      put = assets().PutAsset(asset, now_, now_ + life, kQuota);
      return absl::OkStatus();
    });
    EXPECT_TRUE(committed.ok()) << committed;
    return put;
  }

  absl::StatusOr<v1::Asset> Get(const std::string& content, const std::string& tenant = "local") {
    return assets().GetAsset(tenant, Digest(content), now_);
  }

  // The contents listed, a page at a time.
  std::vector<std::string> List(int page_size, const std::string& tenant = "local") {
    std::map<std::string, std::string> contents;
    for (char c = 'a'; c <= 'z'; ++c) contents[Digest(std::string(1, c))] = std::string(1, c);
    std::vector<std::string> listed;
    AssetStore::ListQuery query{tenant, page_size, ""};
    do {
      const auto page = assets().ListAssets(query, now_);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      EXPECT_LE(page->assets.size(), static_cast<size_t>(page_size));
      for (const v1::Asset& asset : page->assets) listed.push_back(contents[asset.sha256()]);
      query.page_token = page->next_page_token;
    } while (!query.page_token.empty());
    return listed;
  }

  FakeClock clock_;
  TempFolder folder_;
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<GenerationStore> store_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

INSTANTIATE_TEST_SUITE_P(Stores, AssetContract, ::testing::Values(Kind::kSqlite, Kind::kMemory),
                         [](const auto& info) {
                           return info.param == Kind::kSqlite ? "Sqlite" : "Memory";
                         });

TEST_P(AssetContract, WhatWasPutIsThereAfterARestart) {
  const auto put = Put("a");
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(put->create_time().seconds(), absl::ToUnixSeconds(now_));
  EXPECT_EQ(put->expire_time().seconds(), absl::ToUnixSeconds(now_ + absl::Hours(1)));
  Reopen();
  const auto read = Get("a");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->SerializeAsString(), put->SerializeAsString());
  EXPECT_EQ(read->width(), 64);
  EXPECT_TRUE(read->has_alpha());
}

TEST_P(AssetContract, TheSameBytesAreTheSameAsset) {
  const auto first = Put("a");
  now_ += absl::Minutes(10);
  const auto second = Put("a");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->create_time().seconds(), first->create_time().seconds());
  EXPECT_EQ(second->expire_time().seconds(), absl::ToUnixSeconds(now_ + absl::Hours(1)));
  EXPECT_THAT(List(10), ElementsAre("a"));
}

TEST_P(AssetContract, UsePostponesTheEndAndNeverBringsItForward) {
  ASSERT_TRUE(Put("a").ok());
  const auto touch = [&](absl::Duration life) {
    return store_->Transact(
        [&] { return assets().TouchAsset("local", Digest("a"), now_, now_ + life); });
  };
  ASSERT_TRUE(touch(absl::Minutes(1)).ok());
  EXPECT_EQ(Get("a")->expire_time().seconds(), absl::ToUnixSeconds(now_ + absl::Hours(1)));
  ASSERT_TRUE(touch(absl::Hours(2)).ok());
  EXPECT_EQ(Get("a")->expire_time().seconds(), absl::ToUnixSeconds(now_ + absl::Hours(2)));
  now_ += absl::Hours(2);
  EXPECT_TRUE(absl::IsNotFound(touch(absl::Hours(1)))) << "its time is over";
}

TEST_P(AssetContract, WhatIsExpiredForeignOrMissingIsNotThere) {
  ASSERT_TRUE(Put("a").ok());
  ASSERT_TRUE(Put("b", 10, absl::Hours(3)).ok());
  const absl::Status foreign = Get("a", "other").status();
  const absl::Status missing = Get("c").status();
  EXPECT_EQ(ErrorReason(missing), "ASSET_NOT_FOUND");
  EXPECT_EQ(ToProto(foreign).SerializeAsString(), ToProto(missing).SerializeAsString());
  now_ += absl::Hours(1);
  EXPECT_EQ(ToProto(Get("a").status()).SerializeAsString(), ToProto(missing).SerializeAsString());
  EXPECT_THAT(List(10), ElementsAre("b"));
  const auto remove = [&](const std::string& content) {
    return store_->Transact([&] { return assets().DeleteAsset("local", Digest(content), now_); });
  };
  EXPECT_TRUE(absl::IsNotFound(remove("a")));
  EXPECT_TRUE(remove("b").ok());
  EXPECT_TRUE(absl::IsNotFound(remove("b")));
  EXPECT_THAT(List(10), IsEmpty());
}

TEST_P(AssetContract, TheQuotaCountsWhatIsThere) {
  ASSERT_TRUE(Put("a", 600).ok());
  ASSERT_TRUE(Put("b", 400, absl::Hours(2)).ok());
  const absl::Status full = Put("c", 1).status();
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(ErrorReason(full), "ASSET_QUOTA_EXCEEDED");
  EXPECT_TRUE(absl::IsNotFound(Get("c").status()));
  EXPECT_TRUE(Put("a", 600).ok()) << "what is there already takes no more room";
  EXPECT_TRUE(Put("c", 1000, absl::Hours(1), "other").ok()) << "another tenant has its own";
  now_ += absl::Hours(1);
  // What has expired and is not purged yet no longer counts, not even against itself.
  EXPECT_TRUE(Put("a", 600).ok());
  EXPECT_FALSE(Put("d", 1).ok());
}

TEST_P(AssetContract, ListsNewestFirstInPages) {
  for (char c = 'a'; c <= 'g'; ++c) ASSERT_TRUE(Put(std::string(1, c)).ok());
  ASSERT_TRUE(Put("x", 10, absl::Hours(1), "other").ok());
  for (const int size : {1, 2, 3, 7, 100}) {
    EXPECT_THAT(List(size), ElementsAre("g", "f", "e", "d", "c", "b", "a")) << size;
  }
  EXPECT_THAT(List(10, "other"), ElementsAre("x"));
  EXPECT_THAT(List(10, "nobody"), IsEmpty());
}

TEST_P(AssetContract, PageTokensAreOfTheirOwnList) {
  for (char c = 'a'; c <= 'd'; ++c) ASSERT_TRUE(Put(std::string(1, c)).ok());
  const auto page = assets().ListAssets({"local", 2, ""}, now_);
  ASSERT_TRUE(page.ok());
  ASSERT_FALSE(page->next_page_token.empty());
  for (const std::string& token :
       {std::string("1"), std::string("nonsense"), page->next_page_token + "x"}) {
    const absl::Status status = assets().ListAssets({"local", 2, token}, now_).status();
    EXPECT_EQ(ErrorReason(status), "PAGE_TOKEN_INVALID") << token;
  }
  EXPECT_EQ(ErrorReason(assets().ListAssets({"other", 2, page->next_page_token}, now_).status()),
            "PAGE_TOKEN_INVALID");
  GenerationStore::ListQuery generations{"local", {}, 2, page->next_page_token};
  EXPECT_EQ(ErrorReason(store_->List(generations).status()), "PAGE_TOKEN_INVALID");
}

TEST_P(AssetContract, PurgesWhatHasExpiredOldestFirst) {
  ASSERT_TRUE(Put("a", 10, absl::Hours(2)).ok());
  ASSERT_TRUE(Put("b", 10, absl::Hours(1)).ok());
  ASSERT_TRUE(Put("c", 10, absl::Hours(5), "other").ok());
  now_ += absl::Hours(3);
  std::vector<std::string> purged;
  const auto purge = [&](int max) {
    return store_->Transact([&] {
      auto names = assets().PurgeAssets(now_, max);
      if (names.ok()) purged = *std::move(names);
      return names.status();
    });
  };
  ASSERT_TRUE(purge(1).ok());
  EXPECT_THAT(purged, SizeIs(1));
  ASSERT_TRUE(purge(10).ok());
  EXPECT_THAT(purged, SizeIs(1));
  ASSERT_TRUE(purge(10).ok());
  EXPECT_THAT(purged, IsEmpty());
  EXPECT_TRUE(Get("c", "other").ok());
}

TEST_P(AssetContract, WhatIsNotCommittedNeverWas) {
  v1::Asset asset;
  asset.set_sha256(Digest("a"));
  asset.set_name(AssetName{"local", asset.sha256()}.ToString());
  asset.set_size_bytes(10);
  const absl::Status failed = store_->Transact([&] {
    EXPECT_TRUE(assets().PutAsset(asset, now_, now_ + absl::Hours(1), kQuota).ok());
    return absl::CancelledError("thought better of it");
  });
  EXPECT_TRUE(absl::IsCancelled(failed));
  EXPECT_TRUE(absl::IsNotFound(Get("a").status()));
  Reopen();
  EXPECT_TRUE(absl::IsNotFound(Get("a").status()));
}

TEST(AssetRulesTest, BlobKeysAreKeys) {
  const std::string digest = Sha256Hex("a");
  const std::string key = AssetBlobKey("local", digest);
  EXPECT_TRUE(CheckBlobKey(key).ok()) << key;
  EXPECT_NE(key, AssetBlobKey("local", Sha256Hex("b")));
  EXPECT_NE(key, AssetBlobKey("other", digest));
}

}  // namespace
}  // namespace darkroom
