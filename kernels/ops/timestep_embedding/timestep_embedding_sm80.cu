// A few thousand numbers per step: nothing to be gained, so it is written as the contract reads.
#include <cmath>

#include "kernels/common/striding.h"
#include "kernels/ops/timestep_embedding/timestep_embedding.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

__global__ void __launch_bounds__(kStridingThreads)
    TimestepEmbeddingKernel(TimestepEmbeddingArgs args, float log_period) {
  const int64_t half = args.dim / 2;
  const float steps = static_cast<float>(half) - args.downscale_freq_shift;
  ForEachIndex(int64_t{*args.batch.live_sequences} * half, [&](int64_t index) {
    const int64_t sequence = index / half;
    const int64_t i = index % half;
    const float exponent = log_period * static_cast<float>(i) / steps;
    const float frequency = static_cast<float>(exp(static_cast<double>(exponent)));
    const double angle = static_cast<double>(args.timesteps[sequence] * frequency);
    const float sine = static_cast<float>(sin(angle));
    const float cosine = static_cast<float>(cos(angle));
    float* out = args.out + sequence * args.dim;
    out[i] = args.flip_sin_to_cos ? cosine : sine;
    out[half + i] = args.flip_sin_to_cos ? sine : cosine;
  });
}

}  // namespace

Result TimestepEmbedding(const TimestepEmbeddingArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateTimestepEmbedding(args); !valid.ok()) return valid;
  const int64_t elements = args.batch.sequences_max * (args.dim / 2);
  const float log_period = static_cast<float>(-std::log(static_cast<double>(args.max_period)));
  return ptx::Launch(TimestepEmbeddingKernel, {StridingBlocks(elements), kStridingThreads}, stream,
                     args, log_period);
}

}  // namespace darkroom::kernels
