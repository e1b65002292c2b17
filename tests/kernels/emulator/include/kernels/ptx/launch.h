#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/common/limits.h"
#include "kernels/common/result.h"
#include "kernels/emulator/simt.h"

// kernels/ptx/launch.h for the emulator: the kernel has run when the launch returns.

namespace darkroom::kernels::ptx {

struct LaunchShape {
  dim3 blocks;
  uint32_t threads = 0;
  size_t shared_bytes = 0;
};

template <typename... Params, typename... Args>
Result Launch(void (*kernel)(Params...), const LaunchShape& shape, cudaStream_t,
              const Args&... args) {
  if (shape.threads == 0 || shape.threads > kBlockThreadsMax ||
      shape.shared_bytes > kSharedBytesMax || shape.blocks.x == 0 || shape.blocks.y == 0 ||
      shape.blocks.z == 0 || shape.blocks.y > kGridYMax || shape.blocks.z > kGridYMax) {
    return Result::FromCuda(cudaErrorInvalidValue);
  }
  emulator::RunGrid(
      {shape.blocks.x, shape.blocks.y, shape.blocks.z, shape.threads, shape.shared_bytes},
      [&] { kernel(Params(args)...); });
  return {};
}

}  // namespace darkroom::kernels::ptx
