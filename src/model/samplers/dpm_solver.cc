#include "model/samplers/dpm_solver.h"

#include <cmath>
#include <limits>

#include "base/denoise_steps.h"
#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

// A noise level of a variance-preserving schedule: x = alpha * x0 + sigma * epsilon.
struct Level {
  explicit Level(double ratio)
      : alpha(1 / std::sqrt(ratio * ratio + 1)), sigma(ratio * alpha), ratio_(ratio) {}
  // Half the logarithm of the signal-to-noise ratio.
  double lambda() const {
    return ratio_ > 0 ? -std::log(ratio_) : std::numeric_limits<double>::infinity();
  }

  double alpha;
  double sigma;

 private:
  double ratio_;
};

// The smallest signal that diffusers leaves at the first step of a schedule that ends in pure
// noise.
constexpr double kSmallestAlphaCumprod = 0x1p-24;

}  // namespace

DpmSolverSampler::DpmSolverSampler(const DdimConfig& config) : ddim_(config) {
  while (steps_max_ < model_limits::kStepsMax && !Timesteps(steps_max_ + 1).empty()) ++steps_max_;
}

// One more point than steps is laid out and the cleanest is left out, because the last step leads
// to no noise at all.
std::vector<int> DpmSolverSampler::Timesteps(int steps) const {
  const DdimConfig& config = ddim_.config();
  const int train = config.train_timesteps;
  if (steps < 1 || steps > model_limits::kStepsMax || steps >= train) return {};
  std::vector<int> timesteps(static_cast<size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    double timestep = 0;
    switch (config.timestep_spacing) {
      case TimestepSpacing::kLeading:
        // Whole steps, as Python's // gives them.
        timestep = static_cast<double>((steps - i) * (train / (steps + 1)) + config.steps_offset);
        break;
      case TimestepSpacing::kTrailing:
        timestep = std::nearbyint(train - i * (static_cast<double>(train) / steps)) - 1;
        break;
      case TimestepSpacing::kLinspace:
        timestep = std::nearbyint((steps - i) * (static_cast<double>(train - 1) / steps));
        break;
    }
    timesteps[static_cast<size_t>(i)] = static_cast<int>(timestep);
  }
  if (timesteps.front() >= train) return {};
  return timesteps;
}

double DpmSolverSampler::Sigma(int timestep) const {
  double alpha = ddim_.alpha_cumprod(timestep);
  if (ddim_.config().rescale_betas_zero_snr && timestep + 1 == ddim_.train_timesteps()) {
    alpha = kSmallestAlphaCumprod;
  }
  return static_cast<float>(std::sqrt((1 - alpha) / alpha));
}

Schedule DpmSolverSampler::MakeSchedule(int steps, int64_t image_tokens, double strength) const {
  const std::vector<int> timesteps = Timesteps(steps);
  const auto first = static_cast<size_t>(SkippedSteps(steps, strength));
  Schedule schedule;
  for (size_t i = first; i < timesteps.size(); ++i) {
    const Level now(Sigma(timesteps[i]));
    const bool last = i + 1 == timesteps.size();
    const Level next(last ? 0 : Sigma(timesteps[i + 1]));
    if (i == first && strength < 1) {
      schedule.start_known = static_cast<float>(now.alpha);
      schedule.start_noise = static_cast<float>(now.sigma);
    }

    // x0 = clean_sample * x + clean_model * m
    double clean_sample = 0;
    double clean_model = 1;
    if (ddim_.config().prediction_type == PredictionType::kEpsilon) {
      clean_sample = 1 / now.alpha;
      clean_model = -now.sigma / now.alpha;
    } else if (ddim_.config().prediction_type == PredictionType::kVPrediction) {
      clean_sample = now.alpha;
      clean_model = -now.sigma;
    }

    const double h = next.lambda() - now.lambda();
    const double advance = -next.alpha * std::expm1(-h);
    // The weights of this evaluation's x0 and of the one before.
    double weight = advance;
    double weight_before = 0;
    if (i > first && !last) {
      const double r = (now.lambda() - Level(Sigma(timesteps[i - 1])).lambda()) / h;
      weight = advance * (1 + 0.5 / r);
      weight_before = -0.5 * advance / r;
    }
    const double keep = next.sigma / now.sigma;

    Evaluation evaluation;
    evaluation.timestep = static_cast<float>(timesteps[i]);
    evaluation.sigma = timesteps[i];
    evaluation.sample = static_cast<float>(keep + weight * clean_sample);
    evaluation.model = static_cast<float>(weight * clean_model);
    evaluation.history = static_cast<float>(weight_before);
    evaluation.history_sample = static_cast<float>(clean_sample);
    evaluation.history_model = static_cast<float>(clean_model);
    evaluation.denoised_sample = evaluation.history_sample;
    evaluation.denoised_model = evaluation.history_model;
    evaluation.known = static_cast<float>(next.alpha);
    evaluation.noise = static_cast<float>(next.sigma);
    schedule.evaluations.push_back(evaluation);
  }
  return schedule;
}

absl::StatusOr<Evaluation> DpmSolverSampler::MakeStep(double sigma, double next) const {
  return Error(absl::StatusCode::kUnimplemented, "SIGMAS_UNSUPPORTED",
               "a step of dpm_solver_pp_2m needs the step before it; use ddim for single steps");
}

}  // namespace darkroom
