#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom::kernels {

// Threads of a block, blocks in a grid's second and third dimension: CUDA's own.
inline constexpr uint32_t kBlockThreadsMax = 1024;
inline constexpr uint32_t kGridYMax = 65'535;
// Shared memory that a block gets without asking for more first, and the most there is: sm_90's.
inline constexpr size_t kSharedBytesUnasked = 48 * 1024;
inline constexpr size_t kSharedBytesMax = 227 * 1024;
// Rows of a packed batch, features of a row, heads and their size, sequences: as the op contract
// bounds them, so that one dimension's index fits 32 bits.
inline constexpr int64_t kRowsMax = int64_t{1} << 26;
inline constexpr int64_t kFeaturesMax = int64_t{1} << 17;
inline constexpr int32_t kHeadsMax = 1024;
inline constexpr int32_t kHeadDimMax = 1024;
inline constexpr int32_t kSequencesMax = 1 << 16;
// Blocks of an elementwise kernel, whose threads stride over what is left.
inline constexpr int64_t kStridingBlocksMax = int64_t{1} << 16;
// Jobs of one sampler step: what the y dimension of a grid holds.
inline constexpr int32_t kSamplerStepJobsMax = 65'535;
// Edge of a patch, so that features per token fit 32 bits with any sensible number of channels.
inline constexpr int32_t kPatchMax = 64;
// Blocks per job that fill the largest device (132 multiprocessors, 8 blocks each); a job with more
// elements has its blocks stride.
inline constexpr int64_t kSamplerStepBlocksPerJobMax = 1056;

// Convolutions: taps per side and zeros around the picture, pixels between patches.
inline constexpr int32_t kConvKernelMax = 15;
inline constexpr int32_t kConvStrideMax = 8;
// Low-rank adapters: their rank in one part of a matrix, the sum of all parts' ranks, and adapters
// that may apply to one row one after the other.
inline constexpr int32_t kAdapterRankMax = 256;
inline constexpr int32_t kAdapterFusedRankMax = 16 * kAdapterRankMax;
inline constexpr int32_t kAdapterLevelsMax = 8;

// Pixels whose moments one thread takes for a group norm; the order of its sums depends on it.
inline constexpr int64_t kGroupNormRunPixels = 256;

}  // namespace darkroom::kernels
