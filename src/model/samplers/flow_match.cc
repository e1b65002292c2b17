#include "model/samplers/flow_match.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/denoise_steps.h"
#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

constexpr double kShiftMax = 100;

double StaticShift(double shift, double sigma) { return shift * sigma / (1 + (shift - 1) * sigma); }

// What both methods' evaluations have in common. `sigma`: the level it runs at; `next`: the level
// it leads to.
Evaluation At(const FlowMatchConfig& config, float sigma, float next) {
  Evaluation evaluation;
  // diffusers' pipelines divide by 1000 what the scheduler multiplied, and its transformer
  // multiplies again; a last bit lost on the way is visible in the sine of a large timestep.
  const auto train = static_cast<float>(config.train_timesteps);
  evaluation.timestep = sigma * train / 1000.0f * 1000.0f;
  evaluation.sigma = sigma;
  evaluation.denoised_sample = 1;
  evaluation.denoised_model = -sigma;
  evaluation.known = 1.0f - next;
  evaluation.noise = next;
  return evaluation;
}

// The part of the levels that a strength leaves, and the start.
std::vector<float> Levels(const FlowMatchConfig& config, int steps, int64_t image_tokens,
                          double strength, Schedule& schedule) {
  std::vector<float> sigmas = FlowMatchSigmas(config, steps, image_tokens);
  sigmas.erase(sigmas.begin(), sigmas.begin() + SkippedSteps(steps, strength));
  if (strength < 1) {
    schedule.start_known = 1.0f - sigmas.front();
    schedule.start_noise = sigmas.front();
  }
  return sigmas;
}

void ReadShift(ConfigReader& reader, FlowMatchConfig& config) {
  config.train_timesteps = static_cast<int>(
      reader.Int("num_train_timesteps", 1, model_limits::kTrainTimestepsMax, 1000));
  config.shift = reader.Number("shift", 1e-3, kShiftMax, 1.0);
}

}  // namespace

absl::StatusOr<FlowMatchConfig> ReadFlowMatchEulerConfig(ConfigReader& reader) {
  FlowMatchConfig config;
  ReadShift(reader, config);
  config.dynamic_shifting = reader.Bool("use_dynamic_shifting", false);
  config.base_shift = reader.Number("base_shift", -kShiftMax, kShiftMax, 0.5);
  config.max_shift = reader.Number("max_shift", -kShiftMax, kShiftMax, 1.15);
  config.base_image_tokens =
      static_cast<int>(reader.Int("base_image_seq_len", 1, model_limits::kImageTokensMax, 256));
  config.max_image_tokens =
      static_cast<int>(reader.Int("max_image_seq_len", 1, model_limits::kImageTokensMax, 4096));
  config.linear_time_shift =
      reader.Choice("time_shift_type", {"exponential", "linear"}) == "linear";
  config.shift_terminal = reader.Number("shift_terminal", 0, 0.999, 0);
  for (const std::string_view field :
       {"invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas",
        "stochastic_sampling"}) {
    reader.OnlyBool(field, false, /*fallback=*/false);
  }
  if (config.dynamic_shifting && config.max_image_tokens <= config.base_image_tokens) {
    reader.Problem("max_image_seq_len", absl::StrCat("is ", config.max_image_tokens,
                                                     "; it must be more than base_image_seq_len (",
                                                     config.base_image_tokens, ")"));
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return config;
}

absl::StatusOr<FlowMatchConfig> ReadFlowMatchHeunConfig(ConfigReader& reader) {
  FlowMatchConfig config;
  ReadShift(reader, config);
  config.from_training_levels = true;
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return config;
}

std::vector<float> FlowMatchSigmas(const FlowMatchConfig& config, int steps, int64_t image_tokens) {
  double first = 1;
  double last = 1.0 / steps;
  if (config.from_training_levels) {
    first = StaticShift(config.shift, 1);
    last = StaticShift(config.shift, 1.0 / config.train_timesteps);
  }
  const double slope =
      (config.max_shift - config.base_shift) / (config.max_image_tokens - config.base_image_tokens);
  const double mu =
      config.base_shift + slope * (static_cast<double>(image_tokens) - config.base_image_tokens);
  const double factor = config.linear_time_shift ? mu : std::exp(mu);

  std::vector<double> sigmas;
  for (int i = 0; i < steps; ++i) {
    const double sigma = steps == 1 ? first : first + (last - first) * i / (steps - 1);
    sigmas.push_back(config.dynamic_shifting ? factor / (factor + (1 / sigma - 1))
                                             : StaticShift(config.shift, sigma));
  }
  if (config.shift_terminal > 0) {
    const double stretch = (1 - sigmas.back()) / (1 - config.shift_terminal);
    for (double& sigma : sigmas) sigma = stretch > 0 ? 1 - (1 - sigma) / stretch : sigma;
  }
  std::vector<float> rounded(sigmas.begin(), sigmas.end());
  rounded.push_back(0);
  return rounded;
}

int FlowMatchEulerSampler::steps_max() const { return model_limits::kStepsMax; }

Schedule FlowMatchEulerSampler::MakeSchedule(int steps, int64_t image_tokens,
                                             double strength) const {
  Schedule schedule;
  const std::vector<float> sigmas = Levels(config_, steps, image_tokens, strength, schedule);
  for (size_t i = 0; i + 1 < sigmas.size(); ++i) {
    Evaluation evaluation = At(config_, sigmas[i], sigmas[i + 1]);
    evaluation.model = sigmas[i + 1] - sigmas[i];
    schedule.evaluations.push_back(evaluation);
  }
  return schedule;
}

absl::StatusOr<Evaluation> FlowMatchEulerSampler::MakeStep(double sigma, double next) const {
  if (!(sigma > next && sigma <= 1 && next >= 0)) {
    return Error(absl::StatusCode::kInvalidArgument, "SIGMAS_INVALID",
                 "sigmas must be two descending noise levels from 1 to 0")
        .Field("sigmas", "must be two descending noise levels from 1 to 0");
  }
  Evaluation evaluation = At(config_, static_cast<float>(sigma), static_cast<float>(next));
  evaluation.model = static_cast<float>(next) - static_cast<float>(sigma);
  return evaluation;
}

int FlowMatchHeunSampler::steps_max() const { return model_limits::kStepsMax; }

// With s the slope (the model's output) and d the step: first x1 = x + d s1, keeping s1; then
// x2 = x + d (s1 + s2) / 2 = x1 - d/2 s1 + d/2 s2.
Schedule FlowMatchHeunSampler::MakeSchedule(int steps, int64_t image_tokens,
                                            double strength) const {
  Schedule schedule;
  const std::vector<float> sigmas = Levels(config_, steps, image_tokens, strength, schedule);
  for (size_t i = 0; i + 1 < sigmas.size(); ++i) {
    const float step = sigmas[i + 1] - sigmas[i];
    Evaluation first = At(config_, sigmas[i], sigmas[i + 1]);
    first.model = step;
    first.history_model = 1;
    schedule.evaluations.push_back(first);
    // At level 0 there is no slope to be had.
    if (i + 2 == sigmas.size()) break;
    Evaluation second = At(config_, sigmas[i + 1], sigmas[i + 1]);
    second.model = 0.5f * step;
    second.history = -0.5f * step;
    second.history_model = 1;
    schedule.evaluations.push_back(second);
  }
  return schedule;
}

absl::StatusOr<Evaluation> FlowMatchHeunSampler::MakeStep(double sigma, double next) const {
  return Error(absl::StatusCode::kUnimplemented, "SIGMAS_UNSUPPORTED",
               "a step of flow_match_heun is two evaluations; use flow_match_euler for single "
               "steps");
}

}  // namespace darkroom
