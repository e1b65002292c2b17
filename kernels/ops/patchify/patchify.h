#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"
#include "kernels/ops/sampler_step/sampler_step.h"

namespace darkroom::kernels {

// Patchify of the op contract (include/darkroom/ops.h). What the device table holds is its maker's
// promise, as for SamplerStep.
struct PatchifyArgs {
  PackedBatch batch;                  // capacity, live_rows, boundaries, row_to_sequence
  const LatentView* views = nullptr;  // device, [sequences_max]
  int32_t patch = 2;
  int32_t channels = 0;
  void* tokens = nullptr;  // [capacity, channels * patch * patch], f32 or bf16
  DType dtype = DType::kF32;
};

Result ValidatePatchify(const PatchifyArgs& args);
Result Patchify(const PatchifyArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
