#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// out[r] = (norm(x[r]) * weight + bias) * (1 + scale[seq(r)]) + shift[seq(r)] over the last
// dimension; norm(x) is (x - mean) / sqrt(variance + epsilon), or with `rms` x / sqrt(mean(x^2) +
// epsilon). It serves LayerNormModulate and Norm of the op contract. What is null is left out.
struct RowNormArgs {
  PackedBatch batch;        // capacity, live_rows; row_to_sequence with scale or shift
  const void* x = nullptr;  // [capacity, dim], f32 or bf16
  DType x_dtype = DType::kF32;
  int64_t dim = 0;
  bool rms = false;
  float epsilon = 1e-6f;
  const float* weight = nullptr;  // [dim]
  const float* bias = nullptr;    // [dim]
  const float* scale = nullptr;   // [sequences_max, dim]
  const float* shift = nullptr;   // [sequences_max, dim]
  int64_t modulation_stride = 0;  // elements between sequences' rows of scale and shift
  void* out = nullptr;            // [capacity, dim], f32 or bf16; may be `x` if of its dtype
  DType out_dtype = DType::kF32;
};

// A block per row. Eight neighbouring elements belong to one thread, `vectors` such groups to each,
// kept in registers; 0 when they are too many or not aligned: they are read three times then, each
// on its own. The sums run in the same order either way, so both give the same bits.
struct RowNormConfig {
  uint32_t threads = 0;
  int vectors = 0;
};

Result ValidateRowNorm(const RowNormArgs& args);

// REQUIRES: ValidateRowNorm(args).ok().
RowNormConfig ChooseRowNormConfig(const RowNormArgs& args);

// On `stream`. Rows at and beyond the live count are not written. A row's bits depend on nothing
// but itself and its sequence's modulation.
Result RowNorm(const RowNormArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
