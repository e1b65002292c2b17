#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom {

// One evaluation of the transformer and the update of the latents that follows it. With x the
// latents before, m the (guided) model output and h what an earlier evaluation kept:
//   latents' = sample*x + model*m + history*h      h' = history_sample*x + history_model*m
// Every coefficient is computed in double precision and rounded once.
struct Evaluation {
  // What the transformer is told: 0 to the number of training timesteps.
  float timestep = 0;
  // The noise level for people: sigma of flow matching, otherwise the timestep.
  double sigma = 0;
  float sample = 1;
  float model = 0;
  float history = 0;
  float history_sample = 0;
  float history_model = 0;
  // Clean latents as this evaluation estimates them: denoised_sample*x + denoised_model*m.
  float denoised_sample = 0;
  float denoised_model = 0;
  // Known latents k and the starting noise n look like known*k + noise*n at the noise level that
  // this evaluation leads to. Inpainting holds what is kept on that course.
  float known = 1;
  float noise = 0;
};

// The evaluations of one run, in order, and what it starts from: known*k + noise*n with k the
// latents of an initial picture, or nothing, and n standard normal noise.
struct Schedule {
  float start_known = 0;
  float start_noise = 1;
  std::vector<Evaluation> evaluations;
};

// A solver of the diffusion equation under a model's noise schedule. Immutable; any thread.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // As in Sampling.sampler: "ddim".
  virtual std::string_view name() const = 0;
  // Every number of steps up to this is possible.
  virtual int steps_max() const = 0;
  // Whether evaluations read what earlier ones kept.
  virtual bool keeps_history() const { return false; }

  // The last `strength` of `steps` steps, counted as base/denoise_steps.h counts. Large pictures
  // need more of the noise, so `image_tokens` may shift it. REQUIRES: 1 <= steps <= steps_max(),
  // and a strength that leaves an evaluation.
  virtual Schedule MakeSchedule(int steps, int64_t image_tokens, double strength) const = 0;

  // One step between two noise levels, counted as Evaluation.sigma is. INVALID_ARGUMENT where they
  // are no levels of this schedule, UNIMPLEMENTED where a step needs more than two.
  virtual absl::StatusOr<Evaluation> MakeStep(double sigma, double next) const = 0;
};

using Samplers = std::vector<std::unique_ptr<const Sampler>>;

// The sampler of this name; the first one for an empty name; null if there is none.
const Sampler* FindSampler(const Samplers& samplers, std::string_view name);

}  // namespace darkroom
