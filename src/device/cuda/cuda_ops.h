#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom {

// The CUDA backend on device `device`, on the kernels of kernels/. Ops are asynchronous: they have
// run when the stream was synchronised.
//
// UNAVAILABLE (NO_CUDA_DEVICE) when the machine has no such device or driver; FAILED_PRECONDITION
// (CUDA_DEVICE_TOO_OLD) below compute capability 8.0; UNIMPLEMENTED (CUDA_NOT_BUILT) from a build
// without CUDA.
absl::StatusOr<std::unique_ptr<Ops>> CreateCudaOps(int device);

// Memory of a device that CreateCudaOps has opened.
absl::StatusOr<int64_t> CudaMemoryBytes(int device);

}  // namespace darkroom
