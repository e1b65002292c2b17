#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom::cuda {

// Move-only owner of device memory, 256-byte aligned, zeroed when made.
class DeviceMemory {
 public:
  // RESOURCE_EXHAUSTED (OUT_OF_DEVICE_MEMORY) when the device has no more; INVALID_ARGUMENT past
  // kBufferBytesMax.
  static absl::StatusOr<DeviceMemory> Make(size_t bytes);
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceMemory() { cudaFree(data_); }

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

class CudaBuffer : public DeviceBuffer {
 public:
  explicit CudaBuffer(DeviceMemory memory) : memory_(std::move(memory)) {}
  void* data() override { return memory_.data(); }
  size_t size() const override { return memory_.size(); }

 private:
  DeviceMemory memory_;
};

// Move-only owner of a stream that does not wait for the default one. When CUDA cannot make one,
// Synchronize and every op on it tell why.
class CudaStream : public Stream {
 public:
  CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() override;

  absl::Status Synchronize() override;
  const absl::Status& status() const { return status_; }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
  absl::Status status_;
};

}  // namespace darkroom::cuda
