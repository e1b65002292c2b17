// Bound by memory: x is read twice, the second time for what the first one found. Neighbouring
// threads have neighbouring channels, so accesses are coalesced; deviations are taken from each
// run's own mean, which is exact where means are large.
#include <cmath>

#include "kernels/common/activation.h"
#include "kernels/common/limits.h"
#include "kernels/common/striding.h"
#include "kernels/ops/group_norm/group_norm.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kStatThreads = 128;
constexpr int kMergeThreads = 256;

// Scratch: [runs][mean, squares][channels], then factors and offsets of the channels.
struct Scratch {
  float* stats;
  float* factor;
  float* offset;
  int64_t runs;

  __host__ __device__ explicit Scratch(const GroupNormArgs& args)
      : stats(args.scratch),
        factor(nullptr),
        offset(nullptr),
        runs((args.pixels + kGroupNormRunPixels - 1) / kGroupNormRunPixels) {
    factor = stats + 2 * runs * args.channels;
    offset = factor + args.channels;
  }
};

__device__ inline int64_t PixelsOfRun(const GroupNormArgs& args, int64_t run) {
  const int64_t left = args.pixels - run * kGroupNormRunPixels;
  return left < kGroupNormRunPixels ? left : kGroupNormRunPixels;
}

__global__ void __launch_bounds__(kStatThreads) ChannelStatsKernel(GroupNormArgs args) {
  const int64_t channel = int64_t{blockIdx.y} * kStatThreads + threadIdx.x;
  if (channel >= args.channels) return;
  const int64_t run = blockIdx.x;
  const int64_t pixels = PixelsOfRun(args, run);
  const auto at = [&](int64_t i) {
    return LoadElement(args.x, args.x_dtype,
                       (run * kGroupNormRunPixels + i) * args.channels + channel);
  };
  float sum = 0.0f;
  for (int64_t i = 0; i < pixels; ++i) sum += at(i);
  const float mean = sum / static_cast<float>(pixels);
  float squares = 0.0f;
  for (int64_t i = 0; i < pixels; ++i) {
    const float distance = at(i) - mean;
    squares = fmaf(distance, distance, squares);
  }
  float* stats = Scratch(args).stats + 2 * run * args.channels;
  stats[channel] = mean;
  stats[args.channels + channel] = squares;
}

// Sum of the block's values in a fixed order, in every thread. `scratch`: one per thread.
__device__ inline double BlockSumFloat64(double value, double* scratch) {
  const int thread = static_cast<int>(threadIdx.x);
  ptx::SyncBlock();  // the sum before has been read
  scratch[thread] = value;
  for (int half = kMergeThreads / 2; half > 0; half /= 2) {
    ptx::SyncBlock();
    if (thread < half) scratch[thread] += scratch[thread + half];
  }
  ptx::SyncBlock();
  return scratch[0];
}

// A block per group: the mean of all runs' means, then the squares around it.
__global__ void __launch_bounds__(kMergeThreads) MergeKernel(GroupNormArgs args) {
  auto* shared = reinterpret_cast<double*>(ptx::SharedMemory());
  const Scratch scratch(args);
  const int64_t width = args.channels / args.groups;
  const int64_t first_channel = blockIdx.x * width;
  const auto sum_of = [&](auto&& term) {
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < scratch.runs * width; i += kMergeThreads) {
      const int64_t run = i / width;
      const float* stats = scratch.stats + 2 * run * args.channels + first_channel + i % width;
      sum += term(static_cast<double>(PixelsOfRun(args, run)), static_cast<double>(stats[0]),
                  static_cast<double>(stats[args.channels]));
    }
    return BlockSumFloat64(sum, shared);
  };
  const double count = static_cast<double>(args.pixels * width);
  const double mean =
      sum_of([](double pixels, double mean_of_run, double) { return pixels * mean_of_run; }) /
      count;
  const double squares = sum_of([mean](double pixels, double mean_of_run, double squares_of_run) {
    const double apart = mean_of_run - mean;
    return squares_of_run + pixels * apart * apart;
  });
  const double inverse = 1.0 / sqrt(squares / count + static_cast<double>(args.epsilon));
  for (int64_t i = first_channel + threadIdx.x; i < first_channel + width; i += kMergeThreads) {
    const double factor = static_cast<double>(args.gamma[i]) * inverse;
    scratch.factor[i] = static_cast<float>(factor);
    scratch.offset[i] = static_cast<float>(static_cast<double>(args.beta[i]) - mean * factor);
  }
}

__global__ void __launch_bounds__(kStridingThreads) ApplyKernel(GroupNormArgs args) {
  const Scratch scratch(args);
  ForEachIndex(args.pixels * args.channels, [&](int64_t i) {
    const int64_t channel = i % args.channels;
    const float value = fmaf(LoadElement(args.x, args.x_dtype, i), scratch.factor[channel],
                             scratch.offset[channel]);
    StoreElement(args.out, args.out_dtype, i,
                 args.silu ? Activate(Activation::kSilu, value) : value);
  });
}

}  // namespace

Result GroupNorm(const GroupNormArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateGroupNorm(args); !valid.ok()) return valid;
  const dim3 stat_blocks(static_cast<uint32_t>(Scratch(args).runs),
                         static_cast<uint32_t>((args.channels + kStatThreads - 1) / kStatThreads));
  Result result = ptx::Launch(ChannelStatsKernel, {stat_blocks, kStatThreads}, stream, args);
  if (!result.ok()) return result;
  result = ptx::Launch(
      MergeKernel,
      {dim3(static_cast<uint32_t>(args.groups)), kMergeThreads, kMergeThreads * sizeof(double)},
      stream, args);
  if (!result.ok()) return result;
  return ptx::Launch(ApplyKernel, {StridingBlocks(args.pixels * args.channels), kStridingThreads},
                     stream, args);
}

}  // namespace darkroom::kernels
