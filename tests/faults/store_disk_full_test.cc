// A disk that is full: a tmpfs of 2 MiB, mounted by a child in a mount namespace of its own.
// Skipped where the system gives no such namespace.

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "store/directory_blob_store.h"
#include "store/sqlite_store.h"
#include "testing/child_process.h"
#include "testing/store_messages.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::ChildProcess;
using ::darkroom::testing::MakeGeneration;
using ::darkroom::testing::NameOf;
using ::darkroom::testing::TempFolder;

constexpr int kNoNamespace = 99;

bool MountSmallDisk(const std::string& path) {
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  // Keeps the mount from spreading to everybody else's namespace.
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=2m") == 0;
}

// Runs `body` with a small disk at the given path; it returns 0, or the line that went wrong.
void WithSmallDisk(const std::function<int(const std::string&)>& body) {
  const TempFolder folder;
  ChildProcess child([&](const ChildProcess::Teller&) {
    return MountSmallDisk(folder.path()) ? body(folder.path()) : kNoNamespace;
  });
  const int status = child.Wait();
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == kNoNamespace) GTEST_SKIP() << "no mount namespace";
  EXPECT_EQ(WEXITSTATUS(status), 0) << "which check failed";
}

TEST(DiskFull, StoreRefusesAndKeepsWhatItAcknowledged) {
  WithSmallDisk([](const std::string& path) {
    SqliteStoreOptions options;
    options.free_bytes_min = 1 << 20;
    auto store = OpenSqliteStore(path, options);
    if (!store.ok()) return 1;
    v1::Generation generation = MakeGeneration("g");
    generation.mutable_request()->set_prompt(std::string(10'000, 'p'));
    int created = 0;
    absl::Status failure;
    for (; created < 1000 && failure.ok(); ++created) {
      generation.set_name(NameOf(absl::StrCat("g", created)));
      failure = (*store)->Create({generation, "", ""}).status();
    }
    --created;
    if (ErrorReason(failure) != "DISK_FULL") return 2;
    if (failure.code() != absl::StatusCode::kResourceExhausted) return 3;
    if (created < 20) return 4;
    if ((*store)->Get(NameOf("g0")).status() != failure) return 5;
    store->reset();
    // No start before there is space, and everything there once there is.
    if (ErrorReason(OpenSqliteStore(path, options).status()) != "DISK_FULL") return 6;
    if (::mount("tmpfs", path.c_str(), "tmpfs", MS_REMOUNT, "size=16m") != 0) return 7;
    store = OpenSqliteStore(path, options);
    if (!store.ok()) return 8;
    const auto unfinished = (*store)->Unfinished();
    if (!unfinished.ok()) return 9;
    const int found = static_cast<int>(unfinished->size());
    // The last one failed, and may have reached the disk as a whole all the same.
    if (found != created && found != created + 1) return 10;
    return (*store)->Create({MakeGeneration("next"), "", ""}).ok() ? 0 : 11;
  });
}

TEST(DiskFull, BlobsAreRefusedAndNothingIsLeftBehind) {
  WithSmallDisk([](const std::string& path) {
    auto store = OpenDirectoryBlobStore(path);
    if (!store.ok()) return 1;
    if (!(*store)->Put("kept", std::string(500'000, 'k')).ok()) return 2;
    const auto free_before = (*store)->FreeBytes();
    const absl::Status refused = (*store)->Put("a/b", std::string(5 << 20, 'x'));
    if (refused.code() != absl::StatusCode::kResourceExhausted) return 3;
    if (ErrorReason(refused) != "DISK_FULL") return 4;
    if ((*store)->Get("a/b").ok()) return 5;
    if (*(*store)->FreeBytes() != *free_before) return 6;
    // A blob that is there stays as it was when its replacement does not fit.
    if ((*store)->Put("kept", std::string(5 << 20, 'x')).ok()) return 7;
    const auto kept = (*store)->Get("kept");
    if (!kept.ok() || kept->bytes() != std::string(500'000, 'k')) return 8;
    // And with space it goes on.
    if (!(*store)->Delete("kept").ok()) return 9;
    return (*store)->Put("small", std::string(1'000'000, 's')).ok() ? 0 : 10;
  });
}

}  // namespace
}  // namespace darkroom
