#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// TimestepEmbedding of the op contract (include/darkroom/ops.h): rounded to float32 wherever
// diffusers rounds, exponential and sine in float64 in between.
struct TimestepEmbeddingArgs {
  PackedBatch batch;                 // sequences_max, live_sequences
  const float* timesteps = nullptr;  // device, [sequences_max]
  float downscale_freq_shift = 0.0f;
  bool flip_sin_to_cos = true;
  float max_period = 10000.0f;
  int64_t dim = 0;       // even
  float* out = nullptr;  // [sequences_max, dim]
};

Result ValidateTimestepEmbedding(const TimestepEmbeddingArgs& args);
Result TimestepEmbedding(const TimestepEmbeddingArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
