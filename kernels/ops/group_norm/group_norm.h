#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// GroupNorm of the op contract (include/darkroom/ops.h) on one picture, channels last: each group
// of neighbouring channels is normalised over all pixels, then multiplied by gamma, moved by beta,
// and with `silu` times its sigmoid.
struct GroupNormArgs {
  int64_t pixels = 0;
  int32_t channels = 0;
  int32_t groups = 0;  // divides the channels
  float epsilon = 1e-6f;
  bool silu = false;
  const void* x = nullptr;  // [pixels, channels], f32 or bf16
  DType x_dtype = DType::kF32;
  const float* gamma = nullptr;  // [channels]
  const float* beta = nullptr;   // [channels]
  void* out = nullptr;           // [pixels, channels], f32 or bf16; may be `x` if of its dtype
  DType out_dtype = DType::kF32;
  float* scratch = nullptr;  // GroupNormScratchBytes(args), contents of no meaning
};

Result ValidateGroupNorm(const GroupNormArgs& args);

// REQUIRES: pixels and channels within bounds.
size_t GroupNormScratchBytes(const GroupNormArgs& args);

// Three kernels on `stream`: moments of each channel over runs of pixels, those of a group merged
// in float64 into a factor and an offset per channel, and both applied. The order of all sums
// follows from the size alone.
Result GroupNorm(const GroupNormArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
