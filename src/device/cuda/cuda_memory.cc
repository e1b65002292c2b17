#include "device/cuda/cuda_memory.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "device/cuda/cuda_error.h"
#include "device/limits.h"

namespace darkroom::cuda {

absl::Status UseDevice(int device) {
  // Free where it is the thread's already.
  return ToStatus(cudaSetDevice(device), "cudaSetDevice");
}

absl::StatusOr<DeviceMemory> DeviceMemory::Make(size_t bytes) {
  if (bytes > kBufferBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("Allocate: ", bytes, " bytes; at most ", kBufferBytesMax));
  }
  DeviceMemory memory;
  const size_t allocated = std::max<size_t>(bytes, 1);
  if (absl::Status status = ToStatus(cudaMalloc(&memory.data_, allocated), "cudaMalloc");
      !status.ok()) {
    return status;
  }
  memory.size_ = bytes;
  absl::Status status = ToStatus(cudaMemset(memory.data_, 0, allocated), "cudaMemset");
  // Streams here do not wait for the default one, which the zeros come on.
  if (status.ok()) status = ToStatus(cudaStreamSynchronize(nullptr), "cudaMemset");
  if (!status.ok()) return status;
  return memory;
}

absl::StatusOr<PinnedMemory> PinnedMemory::Make(size_t bytes) {
  PinnedMemory memory;
  const cudaError_t code = cudaMallocHost(&memory.data_, std::max<size_t>(bytes, 1));
  if (code == cudaErrorMemoryAllocation) {
    return Error(absl::StatusCode::kResourceExhausted, "OUT_OF_PINNED_MEMORY",
                 absl::StrCat("no ", bytes, " bytes of pinned host memory are left"));
  }
  if (absl::Status status = ToStatus(code, "cudaMallocHost"); !status.ok()) return status;
  memory.size_ = bytes;
  return memory;
}

}  // namespace darkroom::cuda
