#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config_reader.h"
#include "model/samplers/sampler.h"

namespace darkroom {

// Next latents = sample * latents + model * (guided) model output; see SamplerUpdate in ops.h.
struct StepCoefficients {
  float sample = 1.0f;
  float model = 0.0f;
};

enum class BetaSchedule { kLinear, kScaledLinear, kSquaredCosine };
enum class TimestepSpacing { kLeading, kTrailing, kLinspace };
enum class PredictionType { kEpsilon, kVPrediction, kSample };

// The fields of a DDIMScheduler's configuration that change what is computed.
struct DdimConfig {
  int train_timesteps = 1000;
  double beta_start = 0.0001;
  double beta_end = 0.02;
  BetaSchedule beta_schedule = BetaSchedule::kLinear;
  TimestepSpacing timestep_spacing = TimestepSpacing::kLeading;
  PredictionType prediction_type = PredictionType::kEpsilon;
  int steps_offset = 0;
  bool set_alpha_to_one = true;
  bool rescale_betas_zero_snr = false;
};

// Refuses clip_sample and thresholding, which are not linear in the sample.
absl::StatusOr<DdimConfig> ReadDdimConfig(ConfigReader& reader);

// DDIM without added noise (eta 0; Song et al., "Denoising Diffusion Implicit Models", formula 12).
// Immutable.
class DdimSampler : public Sampler {
 public:
  explicit DdimSampler(const DdimConfig& config);

  std::string_view name() const override { return "ddim"; }
  // Every number of steps up to this is possible.
  int steps_max() const override { return steps_max_; }
  Schedule MakeSchedule(int steps, int64_t image_tokens, double strength) const override;
  // Levels are whole timesteps; -1 stands for clean latents.
  absl::StatusOr<Evaluation> MakeStep(double sigma, double next) const override;

  // Timesteps of a run, in the order they are run; empty when `steps` is below 1, above
  // kStepsMax, or more than the training schedule has room for.
  std::vector<int> Timesteps(int steps) const;
  int train_timesteps() const { return config_.train_timesteps; }
  // The timestep that a step of a run with `steps` steps leads to; negative: clean latents.
  int PreviousTimestep(int timestep, int steps) const {
    return timestep - config_.train_timesteps / steps;
  }
  // The step from `timestep` to `previous`, computed in double precision and rounded once.
  // REQUIRES: 0 <= timestep < train_timesteps, previous < train_timesteps.
  StepCoefficients Step(int timestep, int previous) const;
  // The clean latents that the model's output stands for at `timestep`.
  StepCoefficients Denoised(int timestep) const;
  const DdimConfig& config() const { return config_; }
  // Whether every timestep's coefficients are finite numbers.
  bool IsFinite() const;
  // Cumulative product of alphas; `timestep` negative: that of the clean latents.
  double alpha_cumprod(int timestep) const {
    return timestep < 0 ? final_alpha_cumprod_ : alphas_cumprod_[static_cast<size_t>(timestep)];
  }

 private:
  Evaluation Evaluate(int timestep, int previous) const;

  DdimConfig config_;
  std::vector<float> alphas_cumprod_;
  float final_alpha_cumprod_ = 1.0f;
  int steps_max_ = 0;
};

}  // namespace darkroom
