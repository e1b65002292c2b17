#pragma once

#include <cstdint>

namespace darkroom::kernels {

// Jobs of one sampler step: what the y dimension of a grid holds.
inline constexpr int32_t kSamplerStepJobsMax = 65'535;
// Edge of a patch, so that features per token fit 32 bits with any sensible number of channels.
inline constexpr int32_t kPatchMax = 64;
// Blocks per job that fill the largest device (132 multiprocessors, 8 blocks each); a job with more
// elements has its blocks stride.
inline constexpr int64_t kSamplerStepBlocksPerJobMax = 1056;

}  // namespace darkroom::kernels
