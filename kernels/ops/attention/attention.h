#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/device_traits.h"
#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// Attention of the op contract (include/darkroom/ops.h), packed and of variable length.
struct AttentionArgs {
  PackedBatch batch;          // capacity, sequences_max, live_sequences, boundaries; prefixes
  const void* q = nullptr;    // [capacity, heads, head_dim], f32 or bf16
  const void* k = nullptr;    // the same
  const void* v = nullptr;    // the same
  DType dtype = DType::kF32;  // of q, k and v
  int32_t heads = 0;
  int32_t head_dim = 0;
  int64_t row_stride = 0;  // elements between rows of q, k and v
  float scale = 1.0f;
  bool causal = false;
  const float* position_bias = nullptr;  // [heads, 2 * position_span - 1] or null
  int32_t position_span = 0;
  void* out = nullptr;  // [capacity, heads, head_dim], f32 or bf16
  DType out_dtype = DType::kF32;
  int64_t out_stride = 0;  // elements between rows of `out`
};

enum class AttentionKernel : uint8_t {
  kSimt,  // any head size and dtype, on the ordinary units
  kSm80,  // bf16, head size 64 or 128, mma.sync
  kSm90,  // the same without mask or bias, wgmma
};

Result ValidateAttention(const AttentionArgs& args);

// REQUIRES: ValidateAttention(args).ok(). Follows from dtype, head size, mask, bias and alignment,
// which the model fixes, and the device, so that a job never changes its arithmetic.
AttentionKernel ChooseAttentionKernel(const AttentionArgs& args, const DeviceTraits& device);

// On `stream`. Every sequence is cut into tiles of queries counted from its own first row, and a
// query goes over its keys in ascending order, so that no bit depends on other sequences. Rows
// outside of sequences are not written.
Result Attention(const AttentionArgs& args, const DeviceTraits& device, cudaStream_t stream);

// By one kernel whatever the arguments would choose: for tests and benchmarks.
Result AttentionWith(const AttentionArgs& args, AttentionKernel kernel, cudaStream_t stream);

// One kernel each; REQUIRES that the arguments are valid and fit it.
Result AttentionSimt(const AttentionArgs& args, cudaStream_t stream);
Result AttentionSm80(const AttentionArgs& args, cudaStream_t stream);
Result AttentionSm90(const AttentionArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
