#include "kernels/ops/timestep_embedding/timestep_embedding.h"

#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidateTimestepEmbedding(const TimestepEmbeddingArgs& args) {
  Result result =
      FirstError(CheckRange("sequences_max", args.batch.sequences_max, 1, kSequencesMax),
                 CheckRange("dim", args.dim, 2, kFeaturesMax),
                 CheckPresent("live_sequences", args.batch.live_sequences),
                 CheckPresent("timesteps", args.timesteps), CheckPresent("out", args.out));
  if (!result.ok()) return result;
  if (args.dim % 2 != 0) {
    return Result::Invalid("dim is " + std::to_string(args.dim) + "; it must be even");
  }
  if (!(args.max_period > 0.0f)) return Result::Invalid("max_period must be positive");
  if (!(static_cast<float>(args.dim / 2) - args.downscale_freq_shift > 0.0f)) {
    return Result::Invalid("downscale_freq_shift must be less than dim / 2");
  }
  return {};
}

}  // namespace darkroom::kernels
