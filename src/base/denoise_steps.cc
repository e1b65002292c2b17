#include "base/denoise_steps.h"

#include <algorithm>

namespace darkroom {

int SkippedSteps(int steps, double strength) {
  // In floating point and truncated, as diffusers counts: rounding elsewhere runs another step.
  const double run = std::min(steps * strength, static_cast<double>(steps));
  return static_cast<int>(std::max(steps - run, 0.0));
}

int DenoiseEvaluations(std::string_view sampler, int steps, double strength) {
  const int run = steps - SkippedSteps(steps, strength);
  if (sampler == "flow_match_heun") return std::max(2 * run - 1, 0);
  return run;
}

}  // namespace darkroom
