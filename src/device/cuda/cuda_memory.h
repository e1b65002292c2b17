#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom::cuda {

// Makes `device` the calling thread's, which CUDA keeps per thread: before anything that allocates
// or launches.
absl::Status UseDevice(int device);

// Move-only owner of device memory, 256-byte aligned, zeroed when made.
class DeviceMemory {
 public:
  // On the calling thread's device. RESOURCE_EXHAUSTED (OUT_OF_DEVICE_MEMORY) when it has no more;
  // INVALID_ARGUMENT past kBufferBytesMax.
  static absl::StatusOr<DeviceMemory> Make(size_t bytes);
  DeviceMemory() = default;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
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

// Move-only owner of host memory that a device can reach by itself, so that copies need not wait.
class PinnedMemory {
 public:
  // RESOURCE_EXHAUSTED (OUT_OF_PINNED_MEMORY) when the system gives no more.
  static absl::StatusOr<PinnedMemory> Make(size_t bytes);
  PinnedMemory() = default;
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  PinnedMemory(PinnedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PinnedMemory() { cudaFreeHost(data_); }

  char* data() const { return static_cast<char*>(data_); }
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

}  // namespace darkroom::cuda
