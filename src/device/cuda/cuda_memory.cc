#include "device/cuda/cuda_memory.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "device/cuda/cuda_error.h"
#include "device/limits.h"

namespace darkroom::cuda {

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
  if (absl::Status status = ToStatus(cudaMemset(memory.data_, 0, allocated), "cudaMemset");
      !status.ok()) {
    return status;
  }
  return memory;
}

CudaStream::CudaStream()
    : status_(ToStatus(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                       "cudaStreamCreate")) {}

CudaStream::~CudaStream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

absl::Status CudaStream::Synchronize() {
  if (!status_.ok()) return status_;
  return ToStatus(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

}  // namespace darkroom::cuda
