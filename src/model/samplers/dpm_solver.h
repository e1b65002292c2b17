#pragma once

#include <string_view>
#include <vector>

#include "model/samplers/ddim.h"
#include "model/samplers/sampler.h"

namespace darkroom {

// DPM-Solver++ of second order, multistep (Lu et al., "DPM-Solver++: Fast Solver for Guided
// Sampling of Diffusion Probabilistic Models", algorithm 2), as diffusers'
// DPMSolverMultistepScheduler does it when it is made from a DDIM scheduler's configuration:
// midpoint, the last step of first order, ending at no noise. About half the steps of DDIM for the
// same picture. Immutable.
class DpmSolverSampler : public Sampler {
 public:
  // The model's noise schedule, spacing and prediction type; what only DDIM knows is ignored.
  explicit DpmSolverSampler(const DdimConfig& config);

  std::string_view name() const override { return "dpm_solver_pp_2m"; }
  int steps_max() const override { return steps_max_; }
  // The clean latents that the evaluation before estimated.
  bool keeps_history() const override { return true; }
  Schedule MakeSchedule(int steps, int64_t image_tokens, double strength) const override;
  // Always UNIMPLEMENTED: a step needs the one before.
  absl::StatusOr<Evaluation> MakeStep(double sigma, double next) const override;

  // Timesteps of a run; empty where the training schedule has no room for as many.
  std::vector<int> Timesteps(int steps) const;

 private:
  // sqrt((1 - alpha_cumprod) / alpha_cumprod), as float32.
  double Sigma(int timestep) const;

  DdimSampler ddim_;
  int steps_max_ = 0;
};

}  // namespace darkroom
