#include "device/cpu/weight_arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "device/cpu/gemm_layout.h"
#include "device/limits.h"

namespace darkroom::cpu {
namespace {

constexpr size_t kAlignment = 64;

absl::Status Mismatch(const char* what) {
  return Error(absl::StatusCode::kFailedPrecondition, "SHARED_WEIGHTS_MISMATCH",
               absl::StrCat("the shared weights are of ", what, "; pack them anew"));
}

absl::Status NoMemory(size_t bytes) {
  return Error(absl::StatusCode::kResourceExhausted, "DEVICE_MEMORY_EXHAUSTED",
               absl::StrCat("the device has no ", bytes, " bytes left"));
}

}  // namespace

absl::StatusOr<WeightMemory> WeightMemory::Heap(size_t bytes) {
  auto buffer = AlignedBuffer::Make(bytes);
  if (!buffer.ok()) return buffer.status();
  auto owner = std::make_shared<AlignedBuffer>(*std::move(buffer));
  void* data = owner->data();
  return WeightMemory(std::move(owner), data, /*present=*/false);
}

// A memfd and this process's mapping of it, which stays at its address while the file changes from
// writable to sealed.
class WeightArena::Segment {
 public:
  static absl::StatusOr<std::shared_ptr<Segment>> Make(size_t capacity) {
    UniqueFd memfd(::memfd_create("darkroom-weights", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memfd) return absl::ErrnoToStatus(errno, "memfd_create");
    if (::ftruncate(memfd.get(), static_cast<off_t>(capacity)) != 0) return NoMemory(capacity);
    void* address = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, memfd.get(), 0);
    if (address == MAP_FAILED) return NoMemory(capacity);
    return std::shared_ptr<Segment>(
        new Segment(std::move(memfd), static_cast<char*>(address), capacity));
  }
  ~Segment() { ::munmap(data_, capacity_); }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  char* data() const { return data_; }

  // Reserves the pages now: without them a write would be killed by SIGBUS where memory ends.
  absl::Status Reserve(size_t bytes) {
    const off_t begin = static_cast<off_t>(used_);
    int error;
    do {
      error = ::fallocate(memfd_.get(), 0, begin, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
    } while (error == EINTR);
    if (error != 0) return NoMemory(bytes);
    used_ += bytes;
    return absl::OkStatus();
  }

  // Cuts the file to what is used and seals it. The kernel seals against writing only when no
  // writable mapping is left, so the mapping is first replaced, in place, by one for reading. That
  // one is private, because kernels before 6.7 refuse a shared one of a sealed file; it is never
  // written, so that its pages stay the file's own.
  absl::StatusOr<Payload> Seal() {
    if (::mmap(data_, capacity_, PROT_READ, MAP_PRIVATE | MAP_FIXED, memfd_.get(), 0) ==
        MAP_FAILED) {
      return absl::ErrnoToStatus(errno, "mmap of packed weights");
    }
    if (::ftruncate(memfd_.get(), static_cast<off_t>(used_)) != 0 ||
        ::fcntl(memfd_.get(), F_ADD_SEALS,
                F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
      return absl::ErrnoToStatus(errno, "sealing packed weights");
    }
    return Payload::AdoptMemfd(memfd_.Release(), used_);
  }

 private:
  Segment(UniqueFd memfd, char* data, size_t capacity)
      : memfd_(std::move(memfd)), data_(data), capacity_(capacity) {}

  UniqueFd memfd_;
  char* data_;
  size_t capacity_;
  size_t used_ = 0;
};

WeightArena::WeightArena(std::string_view numerics) : numerics_(Sha256Hex(numerics)) {}

absl::StatusOr<std::unique_ptr<WeightArena>> WeightArena::Share(std::string_view numerics,
                                                                SharedWeights shared) {
  auto arena = std::make_unique<WeightArena>(numerics);
  if (!absl::StartsWith(shared.layout, absl::StrCat(arena->numerics_, "/"))) {
    return Mismatch("another machine or version");
  }
  arena->sharing_ = true;
  arena->shared_ = std::move(shared);
  return arena;
}

absl::StatusOr<WeightMemory> WeightArena::Allocate(std::string_view what, size_t bytes) {
  calls_.Update(absl::StrCat(what.size(), ":", std::string(what), ":", bytes, ";"));
  const size_t rounded = static_cast<size_t>(RoundUp(std::max<size_t>(bytes, 1), kAlignment));
  const bool next = used_ + rounded > capacity_;
  if (bytes > kWeightSegmentBytesMax || (next && segment_count_ == kWeightSegmentsMax)) {
    return WeightMemory::Heap(bytes);
  }
  if (next) {
    if (absl::Status status = OpenSegment(rounded); !status.ok()) return status;
  }
  const size_t begin = std::exchange(used_, used_ + rounded);
  if (sharing_) {
    const auto segment = std::make_shared<Payload>(shared_.segments[segment_count_ - 1]);
    if (used_ > segment->size()) return Mismatch("another model");
    return WeightMemory(segment, const_cast<char*>(segment->bytes().data()) + begin,
                        /*present=*/true);
  }
  const std::shared_ptr<Segment>& segment = segments_.back();
  if (absl::Status status = segment->Reserve(rounded); !status.ok()) return status;
  return WeightMemory(segment, segment->data() + begin, /*present=*/false);
}

// The next segment takes the piece that did not fit, and what follows.
absl::Status WeightArena::OpenSegment(size_t bytes) {
  const size_t capacity = std::max(kWeightSegmentBytes, bytes);
  if (sharing_) {
    if (segment_count_ >= shared_.segments.size()) return Mismatch("another model");
  } else {
    auto segment = Segment::Make(capacity);
    if (!segment.ok()) return segment.status();
    segments_.push_back(*std::move(segment));
  }
  ++segment_count_;
  used_ = 0;
  capacity_ = capacity;
  return absl::OkStatus();
}

std::string WeightArena::Layout() { return absl::StrCat(numerics_, "/", calls_.HexDigest()); }

absl::StatusOr<SharedWeights> WeightArena::Finish() {
  const std::string layout = Layout();
  if (sharing_) {
    if (shared_.layout != layout || shared_.segments.size() != segment_count_) {
      return Mismatch("another model");
    }
    return std::move(shared_);
  }
  for (const std::shared_ptr<Segment>& segment : segments_) {
    auto sealed = segment->Seal();
    if (!sealed.ok()) return sealed.status();
    shared_.segments.push_back(*std::move(sealed));
  }
  shared_.layout = layout;
  return std::move(shared_);
}

}  // namespace darkroom::cpu
