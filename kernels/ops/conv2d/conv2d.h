#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// Conv2d of the op contract (include/darkroom/ops.h) on one picture, channels last: out = residual
// + bias + sum over taps and channels, f32 accumulation. A product whose rows are output pixels and
// whose depth is (tap row, tap column, channel); the patches are never stored. Products are of bf16
// when x and weight are (tensor cores), else of f32.
struct Conv2dArgs {
  int32_t height = 0;  // of x
  int32_t width = 0;
  int32_t in_channels = 0;
  int32_t out_height = 0;
  int32_t out_width = 0;
  int32_t out_channels = 0;
  int32_t kernel = 1;  // taps per side
  int32_t stride = 1;
  int32_t pad_top = 0;  // zeros around x; at the other sides as many as the size of out asks for
  int32_t pad_left = 0;
  const void* x = nullptr;  // [height, width, in_channels], f32 or bf16
  DType x_dtype = DType::kF32;
  const void* weight = nullptr;  // [out_channels, kernel, kernel, in_channels], f32 or bf16
  DType weight_dtype = DType::kF32;
  const float* bias = nullptr;     // [out_channels] or null
  const void* residual = nullptr;  // of out's shape, or null; may be `out`
  DType residual_dtype = DType::kF32;
  void* out = nullptr;  // [out_height, out_width, out_channels], f32 or bf16
  DType out_dtype = DType::kF32;
};

enum class Conv2dKernel : uint8_t {
  kSimt,  // any shape and dtype, on the ordinary units
  kSm80,  // bf16, in_channels a multiple of 8, mma.sync
};

Result ValidateConv2d(const Conv2dArgs& args);

// REQUIRES: ValidateConv2d(args).ok(). Follows from dtypes, channels and alignment alone.
Conv2dKernel ChooseConv2dKernel(const Conv2dArgs& args);

// On `stream`. A pixel's bits do not depend on the size of the picture.
Result Conv2d(const Conv2dArgs& args, cudaStream_t stream);

Result Conv2dSimt(const Conv2dArgs& args, cudaStream_t stream);
Result Conv2dSm80(const Conv2dArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
