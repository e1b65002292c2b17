#include "darkroom/payload.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <string>

#include "absl/status/status.h"
#include "base/limits.h"
#include "base/unique_fd.h"

namespace darkroom {
namespace {

constexpr int kSeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;

absl::Status NoMemory(const char* what) {
  return absl::ResourceExhaustedError(std::string(what) +
                                      ": the system has no memory for a shared tensor");
}

// A mapping that is undone on every path.
class Mapping {
 public:
  Mapping() = default;
  Mapping(int fd, size_t size, int protection, int flags) : size_(size) {
    // An empty file cannot be mapped and needs no mapping.
    if (size > 0) address_ = ::mmap(nullptr, size, protection, flags, fd, 0);
  }
  ~Mapping() {
    if (size_ > 0 && ok()) ::munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  bool ok() const { return address_ != MAP_FAILED; }
  char* data() const { return static_cast<char*>(address_); }
  size_t size() const { return size_; }

 private:
  void* address_ = nullptr;
  size_t size_ = 0;
};

}  // namespace

struct Payload::Storage {
  explicit Storage(std::string_view bytes) : heap(bytes) {}
  // Private, because kernels before 6.7 refuse a shared mapping of a write-sealed file even for
  // reading; never written, so that the pages stay the file's own.
  Storage(UniqueFd memfd_in, size_t size)
      : memfd(std::move(memfd_in)), mapping(memfd.get(), size, PROT_READ, MAP_PRIVATE) {}

  std::string heap;
  UniqueFd memfd;
  Mapping mapping;
};

Payload Payload::Copy(std::string_view bytes) {
  Payload payload;
  payload.storage_ = std::make_shared<const Storage>(bytes);
  return payload;
}

absl::StatusOr<Payload> Payload::CreateMemfd(size_t size,
                                             absl::FunctionRef<void(absl::Span<char>)> fill) {
  // The kernel itself sets no bound: it would give page after page until it must kill someone.
  if (size > kPayloadBytesMax) {
    return absl::ResourceExhaustedError("a shared tensor of " + std::to_string(size) +
                                        " bytes; at most " + std::to_string(kPayloadBytesMax) +
                                        " are allowed");
  }
  UniqueFd memfd(::memfd_create("darkroom", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd) return absl::ErrnoToStatus(errno, "memfd_create");
  if (size > 0) {
    // Reserves the pages now: without them `fill` would be killed by SIGBUS where memory ends.
    int error;
    do {
      error = ::fallocate(memfd.get(), 0, 0, static_cast<off_t>(size)) == 0 ? 0 : errno;
    } while (error == EINTR);
    if (error != 0) return NoMemory("fallocate");
    Mapping writable(memfd.get(), size, PROT_READ | PROT_WRITE, MAP_SHARED);
    if (!writable.ok()) return NoMemory("mmap");
    fill(absl::MakeSpan(writable.data(), size));
  }
  // Only after the writable mapping is gone does the kernel grant F_SEAL_WRITE.
  if (::fcntl(memfd.get(), F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) {
    return absl::ErrnoToStatus(errno, "F_ADD_SEALS");
  }
  Payload payload;
  auto storage = std::make_shared<const Storage>(std::move(memfd), size);
  if (!storage->mapping.ok()) return NoMemory("mmap");
  payload.storage_ = std::move(storage);
  return payload;
}

absl::StatusOr<Payload> Payload::AdoptMemfd(int fd, size_t size) {
  UniqueFd memfd(fd);
  const int seals = ::fcntl(memfd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return absl::InvalidArgumentError(
        "a shared tensor must be a memfd sealed against writing, growing and shrinking");
  }
  // Huge-page files take seals too, but a fault on one may find no page and kill the reader.
  struct statfs file_system {};
  struct stat info {};
  if (::fstatfs(memfd.get(), &file_system) != 0 || file_system.f_type != TMPFS_MAGIC ||
      ::fstat(memfd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError("a shared tensor must be a plain memfd");
  }
  if (info.st_size < 0 || static_cast<size_t>(info.st_size) != size) {
    return absl::InvalidArgumentError("a shared tensor has " + std::to_string(info.st_size) +
                                      " bytes where " + std::to_string(size) + " were announced");
  }
  Payload payload;
  auto storage = std::make_shared<const Storage>(std::move(memfd), size);
  if (!storage->mapping.ok()) return NoMemory("mmap");
  payload.storage_ = std::move(storage);
  return payload;
}

std::string_view Payload::bytes() const {
  if (storage_ == nullptr) return {};
  if (storage_->memfd) return {storage_->mapping.data(), storage_->mapping.size()};
  return storage_->heap;
}

int Payload::fd() const { return storage_ == nullptr ? -1 : storage_->memfd.get(); }

}  // namespace darkroom
