#include "kernels/ops/sampler_step/sampler_step.h"

#include <algorithm>
#include <limits>
#include <string>

#include "kernels/common/limits.h"

namespace darkroom::kernels {
namespace {

constexpr uint32_t kThreads = 256;

}  // namespace

Result ValidateSamplerStep(const SamplerStepArgs& args) {
  if (args.jobs < 0 || args.jobs > kSamplerStepJobsMax) {
    return Result::Invalid("jobs is " + std::to_string(args.jobs) + "; it must be 0 to " +
                           std::to_string(kSamplerStepJobsMax));
  }
  if (args.patch < 1 || args.patch > kPatchMax) {
    return Result::Invalid("patch is " + std::to_string(args.patch) + "; it must be 1 to " +
                           std::to_string(kPatchMax));
  }
  const int32_t model_channels_max =
      std::numeric_limits<int32_t>::max() / (args.patch * args.patch);
  if (args.model_channels < 1 || args.model_channels > model_channels_max) {
    return Result::Invalid("model_channels is " + std::to_string(args.model_channels) +
                           "; it must be 1 to " + std::to_string(model_channels_max));
  }
  if (args.jobs == 0) return {};
  if (args.elements_max < 1) {
    return Result::Invalid("elements_max is " + std::to_string(args.elements_max) +
                           "; it must be at least 1");
  }
  if (args.updates == nullptr) return Result::Invalid("updates is null");
  if (args.model_output == nullptr) return Result::Invalid("model_output is null");
  return {};
}

SamplerStepConfig ChooseSamplerStepConfig(const SamplerStepArgs& args) {
  const int64_t blocks = (args.elements_max - 1) / kThreads + 1;
  return {.threads = kThreads,
          .blocks_x = static_cast<uint32_t>(std::min(blocks, kSamplerStepBlocksPerJobMax)),
          .blocks_y = static_cast<uint32_t>(args.jobs)};
}

}  // namespace darkroom::kernels
