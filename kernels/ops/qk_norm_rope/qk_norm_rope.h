#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// QkNormRope of the op contract (include/darkroom/ops.h), in place on queries and keys.
struct QkNormRopeArgs {
  PackedBatch batch;    // capacity, live_rows
  void* qkv = nullptr;  // [capacity, 3, heads, head_dim], f32 or bf16
  DType dtype = DType::kF32;
  int32_t heads = 0;
  int32_t head_dim = 0;
  int64_t row_stride = 0;           // elements between rows of qkv
  const float* q_weight = nullptr;  // [head_dim], or null: q is not normalised
  const float* k_weight = nullptr;
  float epsilon = 1e-6f;
  const float* cos = nullptr;  // [capacity, head_dim / 2], or null with sin: no rotation
  const float* sin = nullptr;
};

Result ValidateQkNormRope(const QkNormRopeArgs& args);

// On `stream`. A row's bits depend on nothing but itself.
Result QkNormRope(const QkNormRopeArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
