#include "model/samplers/ddim.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "base/denoise_steps.h"
#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

constexpr double kBetaMin = 1e-9;
constexpr double kBetaMax = 0.999;

// `count` numbers from `start` to `end`, each half counted from its own end, as PyTorch does it.
std::vector<float> Linspace(float start, float end, int count) {
  std::vector<float> out(static_cast<size_t>(count));
  if (count == 1) return {start};
  const float step = (end - start) / static_cast<float>(count - 1);
  for (int i = 0; i < count; ++i) {
    out[static_cast<size_t>(i)] = i < count / 2 ? start + step * static_cast<float>(i)
                                                : end - step * static_cast<float>(count - i - 1);
  }
  return out;
}

// Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", formula 17.
double CosineAlphaBar(double t) {
  const double cosine = std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2);
  return cosine * cosine;
}

// In float32 because diffusers rounds here, and a product of a thousand alphas shows it.
std::vector<float> Betas(const DdimConfig& config) {
  const int count = config.train_timesteps;
  switch (config.beta_schedule) {
    case BetaSchedule::kLinear:
      return Linspace(static_cast<float>(config.beta_start), static_cast<float>(config.beta_end),
                      count);
    case BetaSchedule::kScaledLinear: {
      std::vector<float> betas = Linspace(static_cast<float>(std::sqrt(config.beta_start)),
                                          static_cast<float>(std::sqrt(config.beta_end)), count);
      for (float& beta : betas) beta *= beta;
      return betas;
    }
    case BetaSchedule::kSquaredCosine: {
      std::vector<float> betas;
      for (int i = 0; i < count; ++i) {
        const double before = CosineAlphaBar(static_cast<double>(i) / count);
        const double after = CosineAlphaBar(static_cast<double>(i + 1) / count);
        betas.push_back(static_cast<float>(std::min(1 - after / before, kBetaMax)));
      }
      return betas;
    }
  }
  return {};
}

// Running product, accumulated in double precision and rounded to float32, as PyTorch does it.
std::vector<float> CumulativeProduct(const std::vector<float>& betas) {
  std::vector<float> out;
  double product = 1.0;
  for (const float beta : betas) {
    product *= static_cast<double>(1.0f - beta);
    out.push_back(static_cast<float>(product));
  }
  return out;
}

// Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1.
void RescaleToZeroSnr(std::vector<float>& betas) {
  std::vector<float> roots = CumulativeProduct(betas);
  for (float& root : roots) root = std::sqrt(root);
  const float first = roots.front();
  const float last = roots.back();
  const float factor = first / (first - last);
  for (float& root : roots) root = (root - last) * factor;
  float before = 1.0f;
  for (size_t i = 0; i < betas.size(); ++i) {
    const float product = roots[i] * roots[i];
    betas[i] = 1.0f - product / before;
    before = product;
  }
}

}  // namespace

absl::StatusOr<DdimConfig> ReadDdimConfig(ConfigReader& reader) {
  DdimConfig config;
  config.train_timesteps = static_cast<int>(
      reader.Int("num_train_timesteps", 1, model_limits::kTrainTimestepsMax, 1000));
  config.beta_start = reader.Number("beta_start", kBetaMin, kBetaMax, 0.0001);
  config.beta_end = reader.Number("beta_end", kBetaMin, kBetaMax, 0.02);
  const std::string schedule =
      reader.Choice("beta_schedule", {"linear", "scaled_linear", "squaredcos_cap_v2"});
  config.beta_schedule = schedule == "linear"          ? BetaSchedule::kLinear
                         : schedule == "scaled_linear" ? BetaSchedule::kScaledLinear
                                                       : BetaSchedule::kSquaredCosine;
  const std::string spacing =
      reader.Choice("timestep_spacing", {"leading", "trailing", "linspace"});
  config.timestep_spacing = spacing == "leading"    ? TimestepSpacing::kLeading
                            : spacing == "trailing" ? TimestepSpacing::kTrailing
                                                    : TimestepSpacing::kLinspace;
  const std::string prediction =
      reader.Choice("prediction_type", {"epsilon", "v_prediction", "sample"});
  config.prediction_type = prediction == "epsilon"        ? PredictionType::kEpsilon
                           : prediction == "v_prediction" ? PredictionType::kVPrediction
                                                          : PredictionType::kSample;
  config.steps_offset =
      static_cast<int>(reader.Int("steps_offset", 0, config.train_timesteps - 1, 0));
  config.set_alpha_to_one = reader.Bool("set_alpha_to_one", true);
  config.rescale_betas_zero_snr = reader.Bool("rescale_betas_zero_snr", false);
  if (config.rescale_betas_zero_snr && config.prediction_type == PredictionType::kEpsilon) {
    reader.Problem("rescale_betas_zero_snr",
                   "is true with prediction_type \"epsilon\", which divides by zero at the first "
                   "step; it needs \"v_prediction\" or \"sample\"");
  }
  if (config.rescale_betas_zero_snr && config.train_timesteps < 2) {
    reader.Problem("rescale_betas_zero_snr", "needs at least 2 num_train_timesteps");
  }
  reader.OnlyBool("clip_sample", false, /*fallback=*/true);
  reader.OnlyBool("thresholding", false, /*fallback=*/false);
  reader.OnlyUnset("trained_betas");
  // Only read by clipping and thresholding.
  reader.Ignore({"clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value"});
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  if (!DdimSampler(config).IsFinite()) {
    reader.Problem("beta_schedule", "leaves no signal, or no noise, at some timestep");
    return reader.Finish();
  }
  return config;
}

DdimSampler::DdimSampler(const DdimConfig& config) : config_(config) {
  std::vector<float> betas = Betas(config);
  if (config.rescale_betas_zero_snr) RescaleToZeroSnr(betas);
  alphas_cumprod_ = CumulativeProduct(betas);
  if (!config.set_alpha_to_one) final_alpha_cumprod_ = alphas_cumprod_.front();
  while (steps_max_ < model_limits::kStepsMax && !Timesteps(steps_max_ + 1).empty()) ++steps_max_;
}

std::vector<int> DdimSampler::Timesteps(int steps) const {
  const int train = config_.train_timesteps;
  if (steps < 1 || steps > model_limits::kStepsMax || steps > train) return {};
  std::vector<int> timesteps(static_cast<size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    // `from_end` counts up from the last step to run. nearbyint rounds half to even, as NumPy does.
    const int from_end = steps - 1 - i;
    double timestep = 0;
    switch (config_.timestep_spacing) {
      case TimestepSpacing::kLeading:
        // Whole steps, as Python's // gives them.
        timestep = static_cast<double>(from_end * (train / steps) + config_.steps_offset);
        break;
      case TimestepSpacing::kTrailing:
        timestep = std::nearbyint(train - i * (static_cast<double>(train) / steps)) - 1;
        break;
      case TimestepSpacing::kLinspace:
        timestep = steps == 1
                       ? 0
                       : std::nearbyint(from_end * (static_cast<double>(train - 1) / (steps - 1)));
        break;
    }
    timesteps[static_cast<size_t>(i)] = static_cast<int>(timestep);
  }
  // An offset can push the first timestep beyond the training schedule.
  if (timesteps.front() >= train) return {};
  return timesteps;
}

bool DdimSampler::IsFinite() const {
  for (int timestep = 0; timestep < config_.train_timesteps; ++timestep) {
    const StepCoefficients step = Step(timestep, timestep - 1);
    if (!std::isfinite(step.sample) || !std::isfinite(step.model)) return false;
  }
  return true;
}

StepCoefficients DdimSampler::Step(int timestep, int previous) const {
  const double alpha = alpha_cumprod(timestep);
  const double alpha_next = alpha_cumprod(previous);
  const double signal = std::sqrt(alpha);
  const double noise = std::sqrt(1 - alpha);
  const double signal_next = std::sqrt(alpha_next);
  const double noise_next = std::sqrt(1 - alpha_next);
  // x0 and epsilon as linear functions of the latents x and the model's output m; then the next
  // latents are signal_next * x0 + noise_next * epsilon.
  double sample = 0;
  double model = 0;
  switch (config_.prediction_type) {
    case PredictionType::kEpsilon:  // x0 = (x - noise m) / signal, epsilon = m
      sample = signal_next / signal;
      model = noise_next - signal_next * noise / signal;
      break;
    case PredictionType::kVPrediction:  // x0 = signal x - noise m, epsilon = signal m + noise x
      sample = signal_next * signal + noise_next * noise;
      model = noise_next * signal - signal_next * noise;
      break;
    case PredictionType::kSample:  // x0 = m, epsilon = (x - signal m) / noise
      sample = noise_next / noise;
      model = signal_next - noise_next * signal / noise;
      break;
  }
  return {.sample = static_cast<float>(sample), .model = static_cast<float>(model)};
}

// x0 is signal * x - noise * v, and so on; epsilon follows from x = signal * x0 + noise * epsilon.
Evaluation DdimSampler::Evaluate(int timestep, int previous) const {
  const StepCoefficients step = Step(timestep, previous);
  Evaluation evaluation;
  evaluation.timestep = static_cast<float>(timestep);
  evaluation.sigma = timestep;
  evaluation.sample = step.sample;
  evaluation.model = step.model;
  const StepCoefficients clean = Denoised(timestep);
  evaluation.denoised_sample = clean.sample;
  evaluation.denoised_model = clean.model;
  const double alpha = alpha_cumprod(previous);
  evaluation.known = static_cast<float>(std::sqrt(alpha));
  evaluation.noise = static_cast<float>(std::sqrt(1 - alpha));
  return evaluation;
}

StepCoefficients DdimSampler::Denoised(int timestep) const {
  const double alpha = alpha_cumprod(timestep);
  const double signal = std::sqrt(alpha);
  const double noise = std::sqrt(1 - alpha);
  switch (config_.prediction_type) {
    case PredictionType::kEpsilon:
      return {.sample = static_cast<float>(1 / signal),
              .model = static_cast<float>(-noise / signal)};
    case PredictionType::kVPrediction:
      return {.sample = static_cast<float>(signal), .model = static_cast<float>(-noise)};
    case PredictionType::kSample:
      return {.sample = 0, .model = 1};
  }
  return {};
}

Schedule DdimSampler::MakeSchedule(int steps, int64_t image_tokens, double strength) const {
  const std::vector<int> timesteps = Timesteps(steps);
  Schedule schedule;
  for (size_t i = static_cast<size_t>(SkippedSteps(steps, strength)); i < timesteps.size(); ++i) {
    schedule.evaluations.push_back(Evaluate(timesteps[i], PreviousTimestep(timesteps[i], steps)));
  }
  if (strength < 1 && !schedule.evaluations.empty()) {
    const double alpha = alpha_cumprod(static_cast<int>(schedule.evaluations.front().sigma));
    schedule.start_known = static_cast<float>(std::sqrt(alpha));
    schedule.start_noise = static_cast<float>(std::sqrt(1 - alpha));
  }
  return schedule;
}

absl::StatusOr<Evaluation> DdimSampler::MakeStep(double sigma, double next) const {
  const double train = config_.train_timesteps;
  const auto whole = [train](double level) {
    return level >= -1 && level < train && level == std::floor(level);
  };
  if (!whole(sigma) || !whole(next) || sigma < 0 || next >= sigma) {
    const std::string problem =
        absl::StrCat("must be two descending timesteps from ", train - 1, " to -1");
    return Error(absl::StatusCode::kInvalidArgument, "SIGMAS_INVALID",
                 absl::StrCat("sigmas ", problem))
        .Field("sigmas", problem);
  }
  return Evaluate(static_cast<int>(sigma), static_cast<int>(next));
}

}  // namespace darkroom
