#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/ops/sampler_step/sampler_step.h"

namespace darkroom::kernels {

// What SamplerStep does to one element of one job. It compiles for host and device, so that the
// arithmetic and the indexing are tested on a machine without a GPU.
//
// fmaf says where a product is fused with a sum; left to the compilers, host and device would
// choose differently.
template <typename T>
__host__ __device__ inline void SamplerStepElement(const SamplerStepArgs& args,
                                                   const SamplerUpdate& update, int64_t element) {
  const LatentView& latents = update.latents;
  const int64_t x = element % latents.width;
  const int64_t y = element / latents.width % latents.height;
  const int64_t channel = element / latents.width / latents.height;
  const int64_t patch = args.patch;
  const int64_t token = y / patch * (latents.width / patch) + x / patch;
  const int64_t feature = args.channels_last
                              ? (y % patch * patch + x % patch) * args.model_channels + channel
                              : (channel * patch + y % patch) * patch + x % patch;
  const int64_t row_size = patch * patch * args.model_channels;
  const T* output = static_cast<const T*>(args.model_output);

  float model = ToFloat(output[(update.conditional_row + token) * row_size + feature]);
  if (update.unconditional_row >= 0) {
    const float unconditional =
        ToFloat(output[(update.unconditional_row + token) * row_size + feature]);
    model = fmaf(update.guidance, model - unconditional, unconditional);
  }
  const float sample = latents.data[element];
  float next = update.model * model;
  if (update.history != nullptr) {
    next = fmaf(update.history_in, update.history[element], next);
    update.history[element] = fmaf(update.history_sample, sample, update.history_model * model);
  }
  next = fmaf(update.sample, sample, next);
  if (update.mask != nullptr) {
    const float mask = update.mask[y * latents.width + x];
    float keep = update.known_weight * update.known[element];
    if (update.noise != nullptr) keep = fmaf(update.noise_weight, update.noise[element], keep);
    next = fmaf(mask, next, (1.0f - mask) * keep);
  }
  if (update.denoised != nullptr) {
    update.denoised[element] = fmaf(update.denoised_sample, sample, update.denoised_model * model);
  }
  latents.data[element] = next;
}

}  // namespace darkroom::kernels
