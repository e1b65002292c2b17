#include "engine/local_assets.h"

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/asset_rules.h"
#include "testing/fake_clock.h"
#include "testing/memory_blob_store.h"
#include "testing/memory_store.h"

namespace darkroom::engine {
namespace {

using ::darkroom::testing::FakeClock;
using ::darkroom::testing::MemoryBlobStore;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;

// Takes for a picture whatever begins with "picture".
class FakeDecoder final : public PictureDecoder {
 public:
  void Decode(Payload bytes, PictureUse, Done done) override {
    std::thread([bytes = std::move(bytes), done = std::move(done)]() mutable {
      if (!bytes.bytes().starts_with("picture")) {
        return std::move(done)(absl::Status(
            Error(absl::StatusCode::kInvalidArgument, "PICTURE_BROKEN", "no picture")));
      }
      std::move(done)(Picture{"image/png", 64, 48, true, {}});
    }).join();
  }
};

class LocalAssetsTest : public ::testing::Test {
 protected:
  LocalAssetsTest() { Start(); }
  ~LocalAssetsTest() override { Stop(); }

  void Start() {
    store_ = std::make_unique<StoreThread>(std::make_unique<MemoryStore>(disk_, clock_));
    LocalAssets::Options options;
    options.retention_ns = 3600 * int64_t{1'000'000'000};
    options.quota_bytes = [](const std::string&) { return 100; };
    assets_ = std::make_unique<LocalAssets>(options, *store_, blobs_, decoder_, clock_);
  }
  void Stop() {
    assets_.reset();
    store_->Stop();
  }

  template <typename T>
  struct Answer {
    std::promise<T> promise;
    Assets::Done<T> Done() {
      return [this](T value) { promise.set_value(std::move(value)); };
    }
    T Get() { return promise.get_future().get(); }
  };

  absl::StatusOr<v1::Asset> Upload(const std::string& bytes, const std::string& tenant = "local") {
    Answer<absl::StatusOr<v1::Asset>> answer;
    assets_->UploadAsset(tenant, Payload::Copy(bytes), answer.Done());
    return answer.Get();
  }
  absl::StatusOr<v1::Asset> Get(const std::string& bytes, const std::string& tenant = "local") {
    Answer<absl::StatusOr<v1::Asset>> answer;
    assets_->GetAsset(tenant, Sha256Hex(bytes), answer.Done());
    return answer.Get();
  }
  absl::StatusOr<Payload> Read(const std::string& bytes, const std::string& tenant = "local") {
    Answer<absl::StatusOr<Payload>> answer;
    assets_->ReadAsset(tenant, Sha256Hex(bytes), answer.Done());
    return answer.Get();
  }
  absl::Status Delete(const std::string& bytes) {
    Answer<absl::Status> answer;
    assets_->DeleteAsset("local", Sha256Hex(bytes), answer.Done());
    return answer.Get();
  }
  bool HasBlob(const std::string& bytes, const std::string& tenant = "local") {
    return blobs_.Get(AssetBlobKey(tenant, Sha256Hex(bytes))).ok();
  }

  FakeClock clock_;
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  MemoryBlobStore blobs_;
  FakeDecoder decoder_;
  std::unique_ptr<StoreThread> store_;
  std::unique_ptr<LocalAssets> assets_;
};

TEST_F(LocalAssetsTest, KeepsWhatWasAcknowledged) {
  const auto asset = Upload("picture one");
  ASSERT_TRUE(asset.ok()) << asset.status();
  EXPECT_EQ(asset->name(), "tenants/local/assets/" + Sha256Hex("picture one"));
  EXPECT_EQ(asset->size_bytes(), 11);
  EXPECT_EQ(asset->width(), 64);
  EXPECT_TRUE(asset->has_alpha());
  Stop();
  Start();
  EXPECT_EQ(Get("picture one")->SerializeAsString(), asset->SerializeAsString());
  EXPECT_EQ(Read("picture one")->bytes(), "picture one");
}

TEST_F(LocalAssetsTest, WhatIsNoPictureLeavesNothing) {
  EXPECT_EQ(ErrorReason(Upload("virus").status()), "PICTURE_BROKEN");
  EXPECT_TRUE(absl::IsNotFound(Get("virus").status()));
  EXPECT_FALSE(HasBlob("virus"));
}

TEST_F(LocalAssetsTest, WhatDoesNotFitLeavesNothing) {
  const std::string large = "picture" + std::string(80, 'x');
  ASSERT_TRUE(Upload(large).ok());
  const std::string more = "picture" + std::string(20, 'y');
  EXPECT_EQ(ErrorReason(Upload(more).status()), "ASSET_QUOTA_EXCEEDED");
  EXPECT_FALSE(HasBlob(more));
  EXPECT_TRUE(Upload(large).ok()) << "it is there already";
  EXPECT_TRUE(HasBlob(large));
  EXPECT_TRUE(Upload(more, "other").ok());
}

TEST_F(LocalAssetsTest, OthersSeeNothing) {
  ASSERT_TRUE(Upload("picture").ok());
  EXPECT_TRUE(absl::IsNotFound(Get("picture", "other").status()));
  EXPECT_TRUE(absl::IsNotFound(Read("picture", "other").status()));
  EXPECT_EQ(ToProto(Read("picture", "other").status()).SerializeAsString(),
            ToProto(Read("missing").status()).SerializeAsString());
}

TEST_F(LocalAssetsTest, DeletingTakesTheBytesAlong) {
  ASSERT_TRUE(Upload("picture").ok());
  EXPECT_TRUE(Delete("picture").ok());
  EXPECT_FALSE(HasBlob("picture"));
  EXPECT_TRUE(absl::IsNotFound(Delete("picture")));
  EXPECT_TRUE(Upload("picture").ok());
  EXPECT_EQ(Read("picture")->bytes(), "picture");
}

TEST_F(LocalAssetsTest, ReadingPostponesTheEndAndPurgingTakesWhatIsOver) {
  ASSERT_TRUE(Upload("picture a").ok());
  ASSERT_TRUE(Upload("picture b").ok());
  clock_.Advance(absl::Minutes(40));
  ASSERT_TRUE(Read("picture a").ok());
  clock_.Advance(absl::Minutes(40));
  EXPECT_TRUE(absl::IsNotFound(Read("picture b").status())) << "over, purged or not";
  EXPECT_TRUE(HasBlob("picture b"));
  assets_->Purge();
  // Answers come in order: this one comes after the purge.
  EXPECT_TRUE(Read("picture a").ok());
  EXPECT_FALSE(HasBlob("picture b"));
  EXPECT_TRUE(HasBlob("picture a"));
}

TEST_F(LocalAssetsTest, AStoreThatBreaksIsAnErrorAndNoAsset) {
  disk_->FailCommitAfter(0);
  EXPECT_FALSE(Upload("picture").ok());
  disk_->Repair();
  Stop();
  Start();
  EXPECT_TRUE(absl::IsNotFound(Get("picture").status()));
}

}  // namespace
}  // namespace darkroom::engine
