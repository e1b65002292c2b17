#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

#include "kernels/common/limits.h"

namespace darkroom::kernels {

// Elementwise kernels: one-dimensional blocks whose threads stride over all indices.
inline constexpr uint32_t kStridingThreads = 256;

// REQUIRES: count > 0.
inline dim3 StridingBlocks(int64_t count) {
  return dim3(static_cast<uint32_t>(
      std::min<int64_t>((count - 1) / kStridingThreads + 1, kStridingBlocksMax)));
}

template <typename Function>
__device__ void ForEachIndex(int64_t count, Function&& function) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    function(i);
  }
}

}  // namespace darkroom::kernels
