#pragma once

#include <cstdint>

#include "kernels/common/result.h"

// kernels/ptx/tensor_map.h for the emulator.

namespace darkroom::kernels::ptx {

struct TensorMap {
  const uint8_t* data;
  int64_t rows;
  int64_t columns;
  int64_t row_stride;
  int box_rows;
};

inline Result EncodeTensorMap(const void* data, int64_t rows, int64_t columns, int64_t row_stride,
                              int box_rows, TensorMap* map) {
  constexpr int kBoxRowsMost = 256;
  if (reinterpret_cast<uintptr_t>(data) % 16 != 0 || row_stride % 8 != 0 ||
      box_rows > kBoxRowsMost) {
    return Result::Invalid("a matrix that the copy engine cannot take");
  }
  *map = {static_cast<const uint8_t*>(data), rows, columns, row_stride, box_rows};
  return {};
}

}  // namespace darkroom::kernels::ptx
