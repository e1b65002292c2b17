#include "device/cpu/workspace.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "device/limits.h"

namespace darkroom::cpu {

void AlignedBuffer::Free::operator()(void* p) const { std::free(p); }

absl::StatusOr<AlignedBuffer> AlignedBuffer::Make(size_t bytes) {
  constexpr size_t kAlignment = 64;
  AlignedBuffer buffer;
  if (bytes <= kBufferBytesMax) {
    const size_t rounded = (bytes + kAlignment) / kAlignment * kAlignment;
    buffer.data_.reset(std::aligned_alloc(kAlignment, rounded));
    if (buffer.data_ != nullptr) {
      std::memset(buffer.data_.get(), 0, rounded);
      buffer.size_ = bytes;
      return buffer;
    }
  }
  return Error(absl::StatusCode::kResourceExhausted, "DEVICE_MEMORY_EXHAUSTED",
               absl::StrCat("the device has no ", bytes, " bytes left"));
}

absl::Status Workspace::Reserve(size_t bytes_per_thread, size_t bytes_shared) {
  for (AlignedBuffer& buffer : per_thread_) {
    if (buffer.size() >= bytes_per_thread) continue;
    buffer = AlignedBuffer();
    auto larger = AlignedBuffer::Make(bytes_per_thread);
    if (!larger.ok()) return larger.status();
    buffer = *std::move(larger);
  }
  if (shared_.size() < bytes_shared) {
    shared_ = AlignedBuffer();
    auto larger = AlignedBuffer::Make(bytes_shared);
    if (!larger.ok()) return larger.status();
    shared_ = *std::move(larger);
  }
  return absl::OkStatus();
}

}  // namespace darkroom::cpu
