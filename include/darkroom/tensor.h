#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace darkroom {

enum class DType : uint8_t { kF32, kBf16, kF16, kU8, kI32, kI64 };

constexpr size_t ByteSize(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBf16:
    case DType::kF16:
      return 2;
    case DType::kU8:
      return 1;
    case DType::kI64:
      return 8;
  }
  return 0;
}

// A view of row-major device memory without gaps. Does not own; cheap to copy. On the CPU backend
// device memory is host memory.
struct Tensor {
  static constexpr int kRankMax = 5;

  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, kRankMax> dims{};

  Tensor() = default;
  Tensor(void* data_in, DType dtype_in, std::initializer_list<int64_t> dims_in)
      : data(data_in), dtype(dtype_in), rank(static_cast<int>(dims_in.size())) {
    assert(dims_in.size() <= kRankMax);
    int i = 0;
    for (const int64_t dim : dims_in) dims[i++] = dim;
  }

  explicit operator bool() const { return data != nullptr; }
  int64_t dim(int i) const { return dims[i < 0 ? rank + i : i]; }
  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(size()) * ByteSize(dtype); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace darkroom
