#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// GatherRows of the op contract (include/darkroom/ops.h).
struct GatherRowsArgs {
  PackedBatch batch;                      // capacity, sequences_max, live_sequences, boundaries
  const float* const* sources = nullptr;  // device, [sequences_max]
  int64_t dim = 0;
  float* out = nullptr;  // [capacity, dim]
};

Result ValidateGatherRows(const GatherRowsArgs& args);
Result GatherRows(const GatherRowsArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
