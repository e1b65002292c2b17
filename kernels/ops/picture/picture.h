#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// A picture in device memory, channels last.
struct PictureShape {
  int32_t height = 0;
  int32_t width = 0;
  int32_t channels = 0;
};

// out [2 height, 2 width, channels] from x of `shape`, nearest neighbour; both f32 or bf16.
Result Upsample2x(const PictureShape& shape, const void* x, void* out, DType dtype,
                  cudaStream_t stream);

// out u8 = round(clamp(x / 2 + 0.5, 0, 1) * 255), half to even; NaN becomes 0. x: f32 or bf16.
Result ToPixels(const void* x, DType dtype, int64_t elements, uint8_t* out, cudaStream_t stream);

}  // namespace darkroom::kernels
