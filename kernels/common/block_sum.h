#pragma once

#include <cstdint>

#include "kernels/ptx/thread.h"

namespace darkroom::kernels {

// Sum of the warp's values in a fixed order, in every lane.
__device__ inline float WarpSum(float value) {
#pragma unroll
  for (int lanes = ptx::kWarpThreads / 2; lanes > 0; lanes /= 2) {
    value += ptx::ShuffleXor(value, lanes);
  }
  return value;
}

// Sum of a block's values in a fixed order, in every thread. `scratch`: a float per warp in shared
// memory, another one for each sum of a kernel.
template <int kThreads>
__device__ float BlockSum(float value, float* scratch) {
  const float warp_sum = WarpSum(value);
  if (ptx::Lane() == 0) scratch[ptx::Warp()] = warp_sum;
  ptx::SyncBlock();
  float sum = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kThreads / ptx::kWarpThreads; ++warp) sum += scratch[warp];
  return sum;
}

}  // namespace darkroom::kernels
