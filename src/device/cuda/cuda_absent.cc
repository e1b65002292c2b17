// In the place of the backend in a build without CUDA.
#include "base/error.h"
#include "device/cuda/cuda_ops.h"

namespace darkroom {
namespace {

absl::Status NotBuilt() {
  return Error(absl::StatusCode::kUnimplemented, "CUDA_NOT_BUILT",
               "this program was built without CUDA; use the cpu, or build it with "
               "-DDARKROOM_WITH_CUDA=ON");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ops>> CreateCudaOps(int /*device*/) { return NotBuilt(); }

absl::StatusOr<int64_t> CudaMemoryBytes(int /*device*/) { return NotBuilt(); }

}  // namespace darkroom
