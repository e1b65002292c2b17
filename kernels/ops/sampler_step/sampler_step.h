#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// One job's latents: f32 [channels, height, width] in device memory.
struct LatentView {
  float* data;
  int32_t channels;
  int32_t height;
  int32_t width;
  int32_t pad;
};

// One job's update. Laid out as darkroom::SamplerUpdate (include/darkroom/ops.h), where the meaning
// of each field is told, so that a table made for the op contract is used as it is.
struct SamplerUpdate {
  LatentView latents;
  float* history;
  int32_t conditional_row;
  int32_t unconditional_row;
  float guidance;
  float sample, model, history_in;
  float history_sample, history_model;
  const float* mask = nullptr;
  const float* known = nullptr;
  const float* noise = nullptr;
  float* denoised = nullptr;
  float known_weight = 0.0f, noise_weight = 0.0f;
  float denoised_sample = 0.0f, denoised_model = 0.0f;
};

struct SamplerStepArgs {
  const SamplerUpdate* updates = nullptr;  // device, [jobs]
  int32_t jobs = 0;
  // The most elements (channels * height * width) that a job of the bucket may have. Sizes the
  // launch only: each job's own size is read on the device, and may even be larger.
  int64_t elements_max = 0;
  int32_t patch = 2;
  bool channels_last = true;
  int32_t model_channels = 0;
  const void* model_output = nullptr;  // device, [capacity, patch * patch * model_channels]
  DType dtype = DType::kF32;           // of model_output
};

// How a step is launched: blocks_x blocks stride over the elements of each of blocks_y jobs.
struct SamplerStepConfig {
  uint32_t threads = 0;
  uint32_t blocks_x = 0;
  uint32_t blocks_y = 0;
};

// Refuses arguments that the kernel cannot run. Looks at host values only; what the device table
// holds is its maker's promise: latents' height and width multiples of `patch`, no more channels
// than `model_channels`, rows within the capacity.
Result ValidateSamplerStep(const SamplerStepArgs& args);

// REQUIRES: ValidateSamplerStep(args).ok() and args.jobs > 0.
SamplerStepConfig ChooseSamplerStepConfig(const SamplerStepArgs& args);

// Un-patches the packed model output, applies guidance and the sampler's step to every job, on
// `stream`. Zero jobs are a success that launches nothing. An element's bits depend on its own job
// only: not on the others, the launch configuration or the architecture (every operation is an
// explicit, correctly rounded one).
Result SamplerStep(const SamplerStepArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
