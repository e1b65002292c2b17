// The sampler's step is bound by memory: per element it reads the latents, one or two model outputs
// and perhaps the history, and writes what it read of its own. Threads follow the latents, whose
// accesses are coalesced; the model output's are strided by the patch and served from cache. There
// is nothing here for Hopper's instructions to speed up, so this is the kernel of every
// architecture from sm_80 on.
#include "kernels/ops/sampler_step/sampler_step.h"
#include "kernels/ops/sampler_step/sampler_step_element.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

template <typename T>
__global__ void SamplerStepKernel(SamplerStepArgs args) {
  const SamplerUpdate update = args.updates[blockIdx.y];
  const LatentView& latents = update.latents;
  const int64_t elements = int64_t{latents.channels} * latents.height * latents.width;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t element = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; element < elements;
       element += stride) {
    SamplerStepElement<T>(args, update, element);
  }
}

}  // namespace

Result SamplerStep(const SamplerStepArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateSamplerStep(args); !valid.ok() || args.jobs == 0) return valid;
  const SamplerStepConfig config = ChooseSamplerStepConfig(args);
  const dim3 grid(config.blocks_x, config.blocks_y);
  return DispatchDType(args.dtype, [&]<typename T>(T) {
    return ptx::Launch(SamplerStepKernel<T>, {grid, config.threads}, stream, args);
  });
}

}  // namespace darkroom::kernels
