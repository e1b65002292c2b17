#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom {

// Places buffers one after another in one piece of memory, each 64-byte aligned. Without a base it
// only measures: its tensors then have shapes and no data.
class Layout {
 public:
  explicit Layout(char* base) : base_(base) {}

  // The offset of the next `bytes` bytes.
  size_t Take(size_t bytes) {
    const size_t offset = size_;
    size_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
  void* At(size_t offset) const { return base_ == nullptr ? nullptr : base_ + offset; }
  // Float32 [rows, columns] at an offset, or at the next one.
  Tensor Matrix(size_t offset, int64_t rows, int64_t columns) const {
    return Tensor(At(offset), DType::kF32, {rows, columns});
  }
  Tensor TakeMatrix(int64_t rows, int64_t columns) {
    return Matrix(Take(FloatBytes(rows * columns)), rows, columns);
  }
  size_t size() const { return size_; }

  static size_t FloatBytes(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

 private:
  static constexpr size_t kAlignment = 64;
  char* base_;
  size_t size_ = 0;
};

// Device memory that grows to the largest size ever asked for and is then reused.
class Workspace {
 public:
  explicit Workspace(Ops& ops) : ops_(ops) {}
  // Memory of at least `bytes`. Growing loses the content.
  absl::StatusOr<char*> Reserve(size_t bytes);
  // Changes whenever the content was lost.
  int growths() const { return growths_; }

 private:
  Ops& ops_;
  std::unique_ptr<DeviceBuffer> buffer_;
  int growths_ = 0;
};

// A device buffer with a copy of `values`.
absl::StatusOr<std::unique_ptr<DeviceBuffer>> Upload(Ops& ops, const std::vector<float>& values,
                                                     Stream& stream);

}  // namespace darkroom
