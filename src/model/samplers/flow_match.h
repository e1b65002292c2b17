#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config_reader.h"
#include "model/samplers/sampler.h"

namespace darkroom {

// The fields of a FlowMatchEulerDiscreteScheduler's or FlowMatchHeunDiscreteScheduler's
// configuration that change what is computed.
struct FlowMatchConfig {
  int train_timesteps = 1000;
  // Static shift of the noise levels; without dynamic shifting only.
  double shift = 1.0;
  // Shift by the number of image tokens: exp(mu), mu linear between the two points.
  bool dynamic_shifting = false;
  double base_shift = 0.5;
  double max_shift = 1.15;
  int base_image_tokens = 256;
  int max_image_tokens = 4096;
  bool linear_time_shift = false;
  // Noise level that the last evaluation runs at; 0: as the shift gives it.
  double shift_terminal = 0;
  // Levels laid out between the training schedule's ends, which are shifted twice, as diffusers'
  // Heun scheduler does; otherwise from 1 to 1/steps, as its FLUX pipelines ask for.
  bool from_training_levels = false;
};

// Refuses Karras, exponential and beta sigmas, inverted ones and stochastic sampling.
absl::StatusOr<FlowMatchConfig> ReadFlowMatchEulerConfig(ConfigReader& reader);
absl::StatusOr<FlowMatchConfig> ReadFlowMatchHeunConfig(ConfigReader& reader);

// Noise levels of a run, descending, with the final 0 at the end: steps + 1 numbers.
// REQUIRES: steps >= 1.
std::vector<float> FlowMatchSigmas(const FlowMatchConfig& config, int steps, int64_t image_tokens);

// Rectified flow (Liu et al.; Esser et al., "Scaling Rectified Flow Transformers"): the model tells
// the velocity, x = (1 - sigma) * x0 + sigma * noise. Euler's method. Immutable.
class FlowMatchEulerSampler : public Sampler {
 public:
  explicit FlowMatchEulerSampler(const FlowMatchConfig& config) : config_(config) {}

  std::string_view name() const override { return "flow_match_euler"; }
  int steps_max() const override;
  Schedule MakeSchedule(int steps, int64_t image_tokens, double strength) const override;
  // Levels from 1 to 0.
  absl::StatusOr<Evaluation> MakeStep(double sigma, double next) const override;

 private:
  FlowMatchConfig config_;
};

// Heun's method on the same levels: every step but the last is evaluated at both its ends, and the
// slopes are averaged. Twice the work, second order. Immutable.
class FlowMatchHeunSampler : public Sampler {
 public:
  explicit FlowMatchHeunSampler(const FlowMatchConfig& config) : config_(config) {}

  std::string_view name() const override { return "flow_match_heun"; }
  int steps_max() const override;
  // The slope at a step's beginning.
  bool keeps_history() const override { return true; }
  Schedule MakeSchedule(int steps, int64_t image_tokens, double strength) const override;
  // Always UNIMPLEMENTED: a step is two evaluations.
  absl::StatusOr<Evaluation> MakeStep(double sigma, double next) const override;

 private:
  FlowMatchConfig config_;
};

}  // namespace darkroom
