#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/common/limits.h"
#include "kernels/common/result.h"
#include "kernels/emulator/runtime.h"
#include "kernels/emulator/simt.h"

// kernels/ptx/launch.h for the emulator: on the default stream the kernel has run when the launch
// returns, on others when they are waited for.

namespace darkroom::kernels::ptx {

struct LaunchShape {
  dim3 blocks;
  uint32_t threads = 0;
  size_t shared_bytes = 0;
};

template <typename... Params, typename... Args>
Result Launch(void (*kernel)(Params...), const LaunchShape& shape, cudaStream_t stream,
              const Args&... args) {
  if (shape.threads == 0 || shape.threads > kBlockThreadsMax ||
      shape.shared_bytes > kSharedBytesMax || shape.blocks.x == 0 || shape.blocks.y == 0 ||
      shape.blocks.z == 0 || shape.blocks.y > kGridYMax || shape.blocks.z > kGridYMax) {
    return Result::FromCuda(cudaErrorInvalidValue);
  }
  // Arguments are copied here, as a launch copies them: they may be gone when the kernel runs.
  return Result::FromCuda(emulator::Submit(stream, [kernel, shape, ... params = Params(args)] {
    emulator::RunGrid(
        {shape.blocks.x, shape.blocks.y, shape.blocks.z, shape.threads, shape.shared_bytes},
        [&] { kernel(params...); });
  }));
}

}  // namespace darkroom::kernels::ptx
