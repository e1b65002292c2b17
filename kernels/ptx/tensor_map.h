#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/common/result.h"

namespace darkroom::kernels::ptx {

// What the bulk copy engine knows of a bf16 matrix in device memory: passed to kernels by value.
struct TensorMap {
  CUtensorMap map;
};

// A row-major matrix that is copied in boxes of `box_rows` rows (256 at most) by 64 columns, which
// are 128 bytes and come swizzled by 128. REQUIRES: `data` 16-byte aligned; row_stride, the
// elements between rows, a multiple of 8.
Result EncodeTensorMap(const void* data, int64_t rows, int64_t columns, int64_t row_stride,
                       int box_rows, TensorMap* map);

}  // namespace darkroom::kernels::ptx
