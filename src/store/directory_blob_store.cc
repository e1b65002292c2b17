#include "store/directory_blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "store/blob_key.h"
#include "store/folder.h"
#include "store/limits.h"

namespace darkroom {
namespace {

constexpr char kPartialFolder[] = ".partial";
constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

// 0 or the error number.
int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

// 0 or the error number.
int ReadAll(int fd, std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t read = ::read(fd, bytes.data() + done, bytes.size() - done);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return errno;
    if (read == 0) return EIO;  // Shorter than its size: somebody else cut it.
    done += static_cast<size_t>(read);
  }
  return 0;
}

// Removes what is in a folder, `depth` levels down; 0 or the error number. Links are removed, not
// followed.
int RemoveContents(int folder, int depth) {
  if (depth <= 0) return ELOOP;
  // A descriptor of its own, which fdopendir takes over and moves along.
  const int listed = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (listed < 0) return errno;
  DIR* const entries = ::fdopendir(listed);
  if (entries == nullptr) {
    const int error = errno;
    ::close(listed);
    return error;
  }
  int error = 0;
  while (error == 0) {
    errno = 0;
    const dirent* const entry = ::readdir(entries);
    if (entry == nullptr) {
      error = errno;
      break;
    }
    const std::string_view name(entry->d_name);
    if (name == "." || name == "..") continue;
    if (::unlinkat(folder, entry->d_name, 0) == 0) continue;
    if (errno != EISDIR) {
      error = errno;
      break;
    }
    const UniqueFd inner(
        ::openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    error = inner ? RemoveContents(inner.get(), depth - 1) : errno;
    if (error == 0 && ::unlinkat(folder, entry->d_name, AT_REMOVEDIR) != 0) error = errno;
  }
  ::closedir(entries);
  return error;
}

// A key's folder and the name in it: "a/b/c" is "c" in "a/b".
struct SplitKey {
  std::string folder;
  std::string name;

  explicit SplitKey(std::string_view key) {
    const size_t slash = key.rfind('/');
    if (slash != std::string_view::npos) folder = std::string(key.substr(0, slash));
    name = std::string(slash == std::string_view::npos ? key : key.substr(slash + 1));
  }
  std::string file() const { return absl::StrCat(name, ".blob"); }
};

class DirectoryBlobStore final : public BlobStore {
 public:
  DirectoryBlobStore(UniqueFd lock, UniqueFd root, UniqueFd partial, PathResolver resolver)
      : lock_(std::move(lock)),
        root_(std::move(root)),
        partial_(std::move(partial)),
        resolver_(resolver) {}

  absl::Status Put(std::string_view key, std::string_view bytes) override;
  absl::StatusOr<Payload> Get(std::string_view key) override;
  absl::Status Delete(std::string_view key) override;
  absl::StatusOr<int64_t> FreeBytes() override { return darkroom::FreeBytes(root_.get()); }

 private:
  absl::Status CheckUsable() const;
  absl::Status WritePartial(const std::string& name, std::string_view bytes);
  absl::StatusOr<UniqueFd> MakeFolders(const std::string& folder)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names_);
  // Makes the entries of a folder durable; a failure breaks the store.
  absl::Status SyncEntries(int folder);
  UniqueFd Open(const std::string& path, int flags) const {
    return OpenBeneath(resolver_, root_.get(), path, flags);
  }

  const UniqueFd lock_;
  const UniqueFd root_;
  const UniqueFd partial_;
  const PathResolver resolver_;
  std::atomic<int64_t> partial_count_{0};
  std::atomic<bool> broken_{false};
  // Held while folders are made or removed, so that none goes between being made and being used.
  Mutex names_;
};

absl::Status DirectoryBlobStore::CheckUsable() const {
  if (!broken_.load()) return absl::OkStatus();
  return Error(absl::StatusCode::kUnavailable, "STORE_BROKEN",
               "the store failed and takes nothing more until the server is restarted");
}

absl::Status DirectoryBlobStore::SyncEntries(int folder) {
  if (::fsync(folder) == 0) return absl::OkStatus();
  absl::Status status = FileError(errno, "sync a folder of blobs");
  broken_.store(true);
  return status;
}

// A failed sync of this file does not break the store: another try writes another file.
absl::Status DirectoryBlobStore::WritePartial(const std::string& name, std::string_view bytes) {
  const UniqueFd file(::openat(partial_.get(), name.c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kFileMode));
  if (!file) return FileError(errno, "make a blob's file");
  if (const int error = WriteAll(file.get(), bytes); error != 0) {
    return FileError(error, "write a blob");
  }
  if (::fsync(file.get()) != 0) return FileError(errno, "sync a blob");
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> DirectoryBlobStore::MakeFolders(const std::string& folder) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY;
  if (UniqueFd fd = Open(folder, kFlags)) return fd;
  UniqueFd parent = Open("", kFlags);
  for (size_t end = 0; parent && end < folder.size();) {
    const size_t start = end == 0 ? 0 : end + 1;
    end = std::min(folder.find('/', start), folder.size());
    const std::string name = folder.substr(start, end - start);
    if (::mkdirat(parent.get(), name.c_str(), kFolderMode) == 0) {
      if (absl::Status status = SyncEntries(parent.get()); !status.ok()) return status;
    } else if (errno != EEXIST) {
      return FileError(errno, "make a folder of blobs");
    }
    parent = Open(folder.substr(0, end), kFlags);
  }
  if (!parent) return FileError(errno, "open a folder of blobs");
  return parent;
}

absl::Status DirectoryBlobStore::Put(std::string_view key, std::string_view bytes) {
  if (absl::Status status = CheckBlobKey(key); !status.ok()) return status;
  if (bytes.size() > store_limits::kBlobBytesMax) {
    return Error(absl::StatusCode::kInvalidArgument, "BLOB_TOO_LARGE",
                 absl::StrCat("a blob has ", bytes.size(), " bytes; at most ",
                              store_limits::kBlobBytesMax, " are kept"));
  }
  if (absl::Status status = CheckUsable(); !status.ok()) return status;
  const SplitKey split(key);
  const std::string partial = absl::StrCat(partial_count_.fetch_add(1));
  UniqueFd folder;
  absl::Status status = WritePartial(partial, bytes);
  if (status.ok()) {
    MutexLock lock(names_);
    auto made = MakeFolders(split.folder);
    status = made.status();
    if (made.ok()) {
      folder = *std::move(made);
      if (::renameat(partial_.get(), partial.c_str(), folder.get(), split.file().c_str()) != 0) {
        status = FileError(errno, "move a blob into place");
      }
    }
  }
  if (!status.ok()) {
    ::unlinkat(partial_.get(), partial.c_str(), 0);
    return status;
  }
  return SyncEntries(folder.get());
}

absl::StatusOr<Payload> DirectoryBlobStore::Get(std::string_view key) {
  if (absl::Status status = CheckBlobKey(key); !status.ok()) return status;
  // Should something else than a file be there, such as a pipe, opening it must not block.
  const UniqueFd file = Open(absl::StrCat(std::string(key), ".blob"), O_RDONLY | O_NONBLOCK);
  if (!file && errno == ENOENT) return BlobNotFound();
  if (!file) return FileError(errno, "open a blob");
  struct stat info = {};
  if (::fstat(file.get(), &info) != 0) return FileError(errno, "look at a blob");
  if (!S_ISREG(info.st_mode) || info.st_size > static_cast<off_t>(store_limits::kBlobBytesMax)) {
    return FileError(EINVAL, "read what is no blob");
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  if (const int error = ReadAll(file.get(), bytes); error != 0) {
    return FileError(error, "read a blob");
  }
  return Payload::Copy(bytes);
}

absl::Status DirectoryBlobStore::Delete(std::string_view key) {
  if (absl::Status status = CheckBlobKey(key); !status.ok()) return status;
  if (absl::Status status = CheckUsable(); !status.ok()) return status;
  const SplitKey split(key);
  MutexLock lock(names_);
  const UniqueFd folder = Open(split.folder, O_RDONLY | O_DIRECTORY);
  if (!folder && errno == ENOENT) return absl::OkStatus();
  if (!folder) return FileError(errno, "open a folder of blobs");
  if (::unlinkat(folder.get(), split.file().c_str(), 0) != 0 && errno != ENOENT) {
    return FileError(errno, "delete a blob");
  }
  const UniqueFd below = OpenBeneath(resolver_, folder.get(), split.name, O_RDONLY | O_DIRECTORY);
  if (below) {
    int error = RemoveContents(below.get(), store_limits::kBlobKeyPartsMax);
    if (error == 0 && ::unlinkat(folder.get(), split.name.c_str(), AT_REMOVEDIR) != 0) {
      error = errno;
    }
    if (error != 0) return FileError(error, "delete a folder of blobs");
  } else if (errno != ENOENT) {
    return FileError(errno, "open a folder of blobs");
  }
  return SyncEntries(folder.get());
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlobStore>> OpenDirectoryBlobStore(
    const std::string& folder, const DirectoryBlobStoreOptions& options) {
  const auto path = MakeFolder(folder);
  if (!path.ok()) return path.status();
  auto lock = LockFolder(*path);
  if (!lock.ok()) return lock.status();
  UniqueFd root(::open(path->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return FileError(errno, "open the folder of blobs");
  if (::mkdirat(root.get(), kPartialFolder, kFolderMode) != 0 && errno != EEXIST) {
    return FileError(errno, "make the folder of partial blobs");
  }
  UniqueFd partial(
      ::openat(root.get(), kPartialFolder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!partial) return FileError(errno, "open the folder of partial blobs");
  if (const int error = RemoveContents(partial.get(), store_limits::kBlobKeyPartsMax); error != 0) {
    return FileError(error, "remove partial blobs");
  }
  const PathResolver resolver = options.resolver.value_or(DetectPathResolver(root.get()));
  return std::make_unique<DirectoryBlobStore>(*std::move(lock), std::move(root), std::move(partial),
                                              resolver);
}

}  // namespace darkroom
