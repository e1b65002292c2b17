#include "model/denoisers/denoiser.h"

namespace darkroom {

SamplerUpdate MakeUpdate(const StepJob& job, int32_t conditional_row, int32_t unconditional_row) {
  const Evaluation& evaluation = job.evaluation;
  SamplerUpdate update{};
  update.latents = job.latents;
  update.history = job.history;
  update.conditional_row = conditional_row;
  update.unconditional_row = unconditional_row;
  update.guidance = job.cfg_scale;
  update.sample = evaluation.sample;
  update.model = evaluation.model;
  update.history_in = evaluation.history;
  update.history_sample = evaluation.history_sample;
  update.history_model = evaluation.history_model;
  update.mask = job.mask;
  update.known = job.known;
  update.noise = job.noise;
  update.known_weight = evaluation.known;
  update.noise_weight = evaluation.noise;
  update.denoised = job.denoised;
  update.denoised_sample = evaluation.denoised_sample;
  update.denoised_model = evaluation.denoised_model;
  return update;
}

}  // namespace darkroom
