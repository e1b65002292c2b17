#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace darkroom {

// Immutable bytes shared by reference: on the heap, or in a sealed memfd that crosses to another
// process without a copy. Copying a Payload copies a pointer. Thread-safe.
class Payload {
 public:
  Payload() = default;

  // Heap copy.
  static Payload Copy(std::string_view bytes);
  // A memfd of `size` bytes, filled by `fill`, then sealed against writing, growing and shrinking.
  // RESOURCE_EXHAUSTED above 1 GiB (kAttachmentBytesMax) or when the kernel gives no memory.
  static absl::StatusOr<Payload> CreateMemfd(size_t size,
                                             absl::FunctionRef<void(absl::Span<char>)> fill);
  // Takes ownership of `fd` and maps it. INVALID_ARGUMENT unless it is a memfd with all three seals
  // and exactly `size` bytes: an unsealed one could change, or shrink under the reader (SIGBUS).
  static absl::StatusOr<Payload> AdoptMemfd(int fd, size_t size);

  std::string_view bytes() const;
  size_t size() const { return bytes().size(); }
  bool empty() const { return bytes().empty(); }
  // The memfd, owned by this payload; -1 for heap bytes.
  int fd() const;

 private:
  struct Storage;
  std::shared_ptr<const Storage> storage_;
};

}  // namespace darkroom
