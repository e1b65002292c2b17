#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/common/limits.h"
#include "kernels/common/result.h"

namespace darkroom::kernels::ptx {

// How a kernel is launched: blocks of threads, and the dynamic shared memory of each block.
struct LaunchShape {
  dim3 blocks;
  uint32_t threads = 0;
  size_t shared_bytes = 0;
};

// Launches `kernel` on `stream`, arguments by value. Kernels' files have no <<<>>>, so that a test
// can run them without a GPU.
template <typename... Params, typename... Args>
Result Launch(void (*kernel)(Params...), const LaunchShape& shape, cudaStream_t stream,
              const Args&... args) {
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shape.shared_bytes > kSharedBytesUnasked) {
    if (const cudaError_t code =
            cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shape.shared_bytes));
        code != cudaSuccess) {
      return Result::FromCuda(code);
    }
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.blocks;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  return Result::FromCuda(cudaLaunchKernelEx(&config, kernel, Params(args)...));
}

}  // namespace darkroom::kernels::ptx
