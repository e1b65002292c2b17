#include "store/folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "spdlog/spdlog.h"

namespace darkroom {
namespace {

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

absl::Status NotWritable(int error_number, const char* what) {
  spdlog::error("store: cannot {}: system error {}", what, error_number);
  return Error(absl::StatusCode::kFailedPrecondition, "STORE_NOT_WRITABLE",
               absl::StrCat("the store's folder cannot be used: cannot ", what));
}

// The entry of a new folder is durable once the folder above it is synced.
absl::Status SyncFolder(const std::string& folder) {
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return NotWritable(errno, "sync a folder");
  return absl::OkStatus();
}

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

absl::StatusOr<std::string> MakeFolder(const std::string& folder) {
  if (folder.empty()) return NotWritable(EINVAL, "use an empty path");
  for (size_t end = 1; end <= folder.size(); ++end) {
    if (end != folder.size() && folder[end] != '/') continue;
    const std::string part = folder.substr(0, end);
    if (::mkdir(part.c_str(), kFolderMode) == 0) {
      if (absl::Status status = SyncFolder(Parent(part)); !status.ok()) return status;
    } else if (errno != EEXIST) {
      return NotWritable(errno, "make a folder");
    }
  }
  char* const real = ::realpath(folder.c_str(), nullptr);
  if (real == nullptr) return NotWritable(errno, "resolve the path");
  std::string resolved(real);
  ::free(real);
  struct stat info = {};
  if (::stat(resolved.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return NotWritable(ENOTDIR, "use what is no folder");
  }
  return resolved;
}

absl::StatusOr<UniqueFd> LockFolder(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/store.lock");
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!fd) return NotWritable(errno, "make the lock file");
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return NotWritable(errno, "lock the lock file");
    char text[16] = {};
    int64_t pid = 0;
    const ssize_t size = ::pread(fd.get(), text, sizeof(text) - 1, 0);
    const bool has_pid = size > 0 && absl::SimpleAtoi(absl::string_view(text, size), &pid);
    return absl::Status(
        Error(absl::StatusCode::kFailedPrecondition, "STORE_IN_USE",
              absl::StrCat("the store's folder is in use by another server",
                           has_pid ? absl::StrCat(", process ", pid) : std::string(),
                           "; each server needs a folder of its own")));
  }
  // For people only: what decides is the lock, which the kernel drops when its holder dies. Always
  // of one length, because cutting a file to nothing makes some file systems sync it.
  const std::string pid = absl::StrFormat("%-10d\n", ::getpid());
  if (::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return FileError(errno, "write the lock file");
  }
  return fd;
}

absl::StatusOr<int64_t> FreeBytes(int fd) {
  struct statvfs info = {};
  if (::fstatvfs(fd, &info) != 0) return FileError(errno, "ask for free space");
  const auto bytes = static_cast<unsigned __int128>(info.f_bavail) * info.f_frsize;
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  return bytes > static_cast<unsigned __int128>(kLargest) ? kLargest : static_cast<int64_t>(bytes);
}

absl::Status FileError(int error_number, const char* what) {
  spdlog::error("store: cannot {}: system error {}", what, error_number);
  if (error_number == ENOSPC || error_number == EDQUOT) {
    return Error(absl::StatusCode::kResourceExhausted, "DISK_FULL", "the store's disk is full");
  }
  return Error(absl::StatusCode::kUnavailable, "STORE_BROKEN", "the store's disk failed");
}

}  // namespace darkroom
