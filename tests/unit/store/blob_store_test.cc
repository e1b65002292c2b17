// The contract of include/darkroom/blob.h, run against every implementation, and what the one on a
// folder promises beyond it.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "darkroom/blob.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/directory_blob_store.h"
#include "store/limits.h"
#include "testing/memory_blob_store.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::MemoryBlobStore;
using ::darkroom::testing::TempFolder;

enum class Kind { kKernel, kWalk, kMemory };

void ExpectReason(const absl::Status& status, absl::StatusCode code, const std::string& reason) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ErrorReason(status), reason) << status;
}

class BlobStoreContract : public ::testing::TestWithParam<Kind> {
 protected:
  BlobStoreContract() {
    if (GetParam() == Kind::kMemory) {
      store_ = std::make_unique<MemoryBlobStore>();
      return;
    }
    Reopen();
  }

  void Reopen() {
    store_.reset();
    DirectoryBlobStoreOptions options;
    options.resolver = GetParam() == Kind::kKernel ? PathResolver::kKernel : PathResolver::kWalk;
    auto opened = OpenDirectoryBlobStore(folder_.path(), options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  std::string Read(const std::string& key) {
    const auto payload = store_->Get(key);
    return payload.ok() ? std::string(payload->bytes()) : ErrorReason(payload.status());
  }

  TempFolder folder_;
  std::unique_ptr<BlobStore> store_;
};

class DirectoryBlobs : public BlobStoreContract {};

std::string KindName(const ::testing::TestParamInfo<Kind>& info) {
  return info.param == Kind::kKernel ? "Kernel" : info.param == Kind::kWalk ? "Walk" : "Memory";
}

INSTANTIATE_TEST_SUITE_P(Stores, BlobStoreContract,
                         ::testing::Values(Kind::kKernel, Kind::kWalk, Kind::kMemory), KindName);
INSTANTIATE_TEST_SUITE_P(Stores, DirectoryBlobs, ::testing::Values(Kind::kKernel, Kind::kWalk),
                         KindName);

TEST_P(BlobStoreContract, KeepsBytes) {
  std::string all_bytes;
  for (int i = 0; i < 3 * 256; ++i) all_bytes.push_back(static_cast<char>(i));
  EXPECT_EQ(Read("a"), "BLOB_NOT_FOUND");
  ASSERT_TRUE(store_->Put("a", all_bytes).ok());
  ASSERT_TRUE(store_->Put("tenants/local/generations/g1/0", "zero").ok());
  ASSERT_TRUE(store_->Put("tenants/local/generations/g1/1", "").ok());
  EXPECT_EQ(Read("a"), all_bytes);
  EXPECT_EQ(Read("tenants/local/generations/g1/0"), "zero");
  EXPECT_EQ(Read("tenants/local/generations/g1/1"), "");
  EXPECT_EQ(Read("tenants/local/generations/g1/2"), "BLOB_NOT_FOUND");
  EXPECT_EQ(Read("tenants/local/generations/g1"), "BLOB_NOT_FOUND");
  const auto missing = store_->Get("a/b").status();
  ExpectReason(missing, absl::StatusCode::kNotFound, "BLOB_NOT_FOUND");

  ASSERT_TRUE(store_->Put("a", "shorter").ok());
  EXPECT_EQ(Read("a"), "shorter");
  EXPECT_GT(*store_->FreeBytes(), 0);
}

TEST_P(BlobStoreContract, AKeyMayBeBlobAndFolderAtOnce) {
  ASSERT_TRUE(store_->Put("a/b", "blob").ok());
  ASSERT_TRUE(store_->Put("a/b/c", "below").ok());
  ASSERT_TRUE(store_->Put("a", "above").ok());
  EXPECT_EQ(Read("a"), "above");
  EXPECT_EQ(Read("a/b"), "blob");
  EXPECT_EQ(Read("a/b/c"), "below");
}

TEST_P(BlobStoreContract, DeletesTheKeyAndAllBelow) {
  for (const char* key : {"a", "a-b", "a/b", "a/b/c", "a/b/c/d", "a/b-c", "a/bc", "a/c", "ab"}) {
    ASSERT_TRUE(store_->Put(key, key).ok()) << key;
  }
  ASSERT_TRUE(store_->Delete("a/b").ok());
  for (const char* key : {"a/b", "a/b/c", "a/b/c/d"}) EXPECT_EQ(Read(key), "BLOB_NOT_FOUND") << key;
  for (const char* key : {"a", "a-b", "a/b-c", "a/bc", "a/c", "ab"}) EXPECT_EQ(Read(key), key);
  ASSERT_TRUE(store_->Delete("a/b").ok()) << "nothing there is fine";
  ASSERT_TRUE(store_->Delete("x/y/z").ok());
  ASSERT_TRUE(store_->Delete("a").ok());
  for (const char* key : {"a", "a/b-c", "a/bc", "a/c"}) EXPECT_EQ(Read(key), "BLOB_NOT_FOUND");
  for (const char* key : {"a-b", "ab"}) EXPECT_EQ(Read(key), key);
  ASSERT_TRUE(store_->Put("a/b/c", "again").ok());
  EXPECT_EQ(Read("a/b/c"), "again");
}

TEST_P(BlobStoreContract, RefusesEveryKeyThatIsNone) {
  const std::vector<std::string> keys = {"",
                                         "/",
                                         "/a",
                                         "a/",
                                         "a//b",
                                         ".",
                                         "..",
                                         "../a",
                                         "a/../b",
                                         "a/..",
                                         "./a",
                                         "a.blob",
                                         "A",
                                         "a b",
                                         "a\\b",
                                         "ä",
                                         "a\n",
                                         "%2e%2e",
                                         "~",
                                         "c:",
                                         "\xc0\xae\xc0\xae/a",
                                         "..%c0%af",
                                         "*",
                                         ".partial/0",
                                         std::string("a\0b", 3),
                                         std::string("\0", 1),
                                         std::string(64, 'a'),
                                         "1/2/3/4/5/6/7/8/9",
                                         std::string(1 << 20, 'a'),
                                         std::string(1 << 20, '/')};
  for (const std::string& key : keys) {
    ExpectReason(store_->Put(key, "x"), absl::StatusCode::kInvalidArgument, "BLOB_KEY_INVALID");
    ExpectReason(store_->Get(key).status(), absl::StatusCode::kInvalidArgument, "BLOB_KEY_INVALID");
    ExpectReason(store_->Delete(key), absl::StatusCode::kInvalidArgument, "BLOB_KEY_INVALID");
  }
  const std::string longest = std::string(63, 'z');
  EXPECT_TRUE(store_->Put(longest + "/2/3/4/5/6/7/" + longest, "x").ok());
}

TEST_P(BlobStoreContract, ThreadsDoNotDisturbEachOther) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 25;
  std::vector<std::thread> threads;
  std::vector<absl::Status> failures(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      // All in one folder, which each of them keeps removing.
      for (int round = 0; round < kRounds && failures[thread].ok(); ++round) {
        const std::string key = absl::StrCat("shared/folder/", thread, "/", round % 3);
        failures[thread].Update(store_->Put(key, absl::StrCat(thread, ".", round)));
        failures[thread].Update(store_->Delete("shared/folder"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& failure : failures) EXPECT_TRUE(failure.ok()) << failure;
}

TEST_P(DirectoryBlobs, SurvivesReopening) {
  ASSERT_TRUE(store_->Put("a/b", "kept").ok());
  Reopen();
  EXPECT_EQ(Read("a/b"), "kept");
}

TEST_P(DirectoryBlobs, RemovesWhatACrashLeft) {
  ASSERT_TRUE(store_->Put("a", "kept").ok());
  store_.reset();
  const std::string partial = folder_.path() + "/.partial";
  for (const char* name : {"/0", "/17"}) std::ofstream(partial + name) << "half a pic";
  Reopen();
  EXPECT_TRUE(std::filesystem::is_empty(partial));
  // Numbers start again without tripping over old ones.
  ASSERT_TRUE(store_->Put("b", "new").ok());
  EXPECT_EQ(Read("a"), "kept");
  EXPECT_TRUE(std::filesystem::is_empty(partial));
}

TEST_P(DirectoryBlobs, FollowsNoLink) {
  const TempFolder outside;
  std::ofstream(outside.path() + "/secret.blob") << "secret";
  ASSERT_TRUE(store_->Put("real/x", "x").ok());
  ASSERT_EQ(::symlink(outside.path().c_str(), (folder_.path() + "/link").c_str()), 0);
  ASSERT_EQ(::symlink((outside.path() + "/secret.blob").c_str(),
                      (folder_.path() + "/real/leaf.blob").c_str()),
            0);
  EXPECT_FALSE(store_->Get("link/secret").ok());
  EXPECT_FALSE(store_->Get("real/leaf").ok());
  EXPECT_FALSE(store_->Put("link/new", "y").ok());
  EXPECT_FALSE(store_->Put("link/deeper/new", "y").ok());
  EXPECT_FALSE(store_->Delete("link/secret").ok());
  EXPECT_FALSE(store_->Delete("link").ok());
  // The link's name may be replaced or removed; what it points to stays as it is.
  ASSERT_TRUE(store_->Put("real/leaf", "mine").ok());
  EXPECT_EQ(Read("real/leaf"), "mine");
  ASSERT_EQ(::symlink(outside.path().c_str(), (folder_.path() + "/real/inner").c_str()), 0);
  ASSERT_TRUE(store_->Delete("real").ok());
  std::string secret;
  std::ifstream(outside.path() + "/secret.blob") >> secret;
  EXPECT_EQ(secret, "secret");
  EXPECT_FALSE(std::filesystem::exists(outside.path() + "/new.blob"));
}

TEST_P(DirectoryBlobs, ReadsNothingButFiles) {
  ASSERT_EQ(::mkfifo((folder_.path() + "/pipe.blob").c_str(), 0600), 0);
  std::filesystem::create_directory(folder_.path() + "/folder.blob");
  EXPECT_FALSE(store_->Get("pipe").ok());
  EXPECT_FALSE(store_->Get("folder").ok());
}

TEST_P(DirectoryBlobs, KeepsOthersOut) {
  auto second = OpenDirectoryBlobStore(folder_.path());
  ExpectReason(second.status(), absl::StatusCode::kFailedPrecondition, "STORE_IN_USE");
  ASSERT_TRUE(store_->Put("a/b", "x").ok());
  struct stat info;
  for (const char* path : {"/a", "/a/b.blob"}) {
    ASSERT_EQ(::stat((folder_.path() + path).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077, 0) << path;
  }
}

TEST_P(DirectoryBlobs, RefusesWhatIsTooLarge) {
  const std::string huge(store_limits::kBlobBytesMax + 1, 'x');
  ExpectReason(store_->Put("a", huge), absl::StatusCode::kInvalidArgument, "BLOB_TOO_LARGE");
  EXPECT_EQ(Read("a"), "BLOB_NOT_FOUND");
}

TEST(DirectoryBlobStore, MakesItsFolder) {
  const TempFolder folder;
  {
    auto store = OpenDirectoryBlobStore(folder.path() + "/x/y//z/");
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->Put("a", "x").ok());
  }
  EXPECT_TRUE(std::filesystem::exists(folder.path() + "/x/y/z/a.blob"));
  std::ofstream(folder.path() + "/file") << "x";
  for (const char* path : {"/file", "/file/below"}) {
    ExpectReason(OpenDirectoryBlobStore(folder.path() + path).status(),
                 absl::StatusCode::kFailedPrecondition, "STORE_NOT_WRITABLE");
  }
  EXPECT_FALSE(OpenDirectoryBlobStore("").ok());
}

}  // namespace
}  // namespace darkroom
