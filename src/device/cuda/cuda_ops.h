#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom {

// The CUDA backend on device `device`, on the kernels of kernels/. Ops are asynchronous: they have
// run when the stream was synchronised.
//
// UNAVAILABLE (NO_CUDA_DEVICE) when the machine has no such device or driver; FAILED_PRECONDITION
// (CUDA_DEVICE_TOO_OLD) below compute capability 8.0. The autoencoder's ops (Conv2d, GroupNorm,
// Upsample2x, ToPixels) are UNIMPLEMENTED (OP_NOT_ON_CUDA).
absl::StatusOr<std::unique_ptr<Ops>> CreateCudaOps(int device);

}  // namespace darkroom
