#include "device/cuda/cuda_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/graph_cache.h"
#include "device/limits.h"

namespace darkroom::cuda {

CudaEvent::~CudaEvent() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

absl::Status CudaEvent::Record(cudaStream_t stream) {
  if (event_ == nullptr) {
    if (absl::Status status =
            ToStatus(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
        !status.ok()) {
      return status;
    }
  }
  return ToStatus(cudaEventRecord(event_, stream), "cudaEventRecord");
}

absl::Status CudaEvent::Wait() {
  if (event_ == nullptr) return absl::OkStatus();
  return ToStatus(cudaEventSynchronize(event_), "cudaEventSynchronize");
}

absl::Status Staging::NextHalf(cudaStream_t stream) {
  if (absl::Status status = halves_[current_].done.Record(stream); !status.ok()) return status;
  current_ ^= 1;
  Half& half = halves_[current_];
  half.used = 0;
  return half.done.Wait();
}

absl::Status Staging::Copy(void* device, const void* host, size_t bytes, cudaStream_t stream) {
  const auto* from = static_cast<const char*>(host);
  auto* to = static_cast<char*>(device);
  while (bytes > 0) {
    if (halves_[current_].used == kStagingBytes) {
      if (absl::Status status = NextHalf(stream); !status.ok()) return status;
    }
    Half& half = halves_[current_];
    if (half.memory.size() == 0) {
      auto memory = PinnedMemory::Make(kStagingBytes);
      if (!memory.ok()) return memory.status();
      half.memory = *std::move(memory);
    }
    const size_t piece = std::min(bytes, kStagingBytes - half.used);
    char* staged = half.memory.data() + half.used;
    std::memcpy(staged, from, piece);
    if (absl::Status status = ToStatus(
            cudaMemcpyAsync(to, staged, piece, cudaMemcpyHostToDevice, stream), "CopyToDevice");
        !status.ok()) {
      return status;
    }
    half.used += piece;
    from += piece;
    to += piece;
    bytes -= piece;
  }
  return absl::OkStatus();
}

CudaStream::CudaStream(int device)
    : device_(device), status_(UseDevice(device)), graphs_(std::make_unique<GraphCache>()) {
  if (!status_.ok()) return;
  status_ =
      ToStatus(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}

CudaStream::~CudaStream() {
  if (stream_ == nullptr) return;
  // Scratch, staging and graphs are still read by what has not run.
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

absl::Status CudaStream::Enter() const { return status_.ok() ? UseDevice(device_) : status_; }

absl::Status CudaStream::Synchronize() {
  if (!status_.ok()) return status_;
  return ToStatus(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

absl::StatusOr<void*> CudaStream::Scratch(size_t bytes) {
  if (bytes <= scratch_.size()) return scratch_.data();
  if (capturing_) {
    return Error(absl::StatusCode::kFailedPrecondition, "GROWS_IN_CAPTURE",
                 "an op needs more scratch memory while a graph is captured; run the shape once "
                 "before");
  }
  // What still reads the old one must have ended. It goes first, so that both never exist at once.
  if (absl::Status status = Synchronize(); !status.ok()) return status;
  scratch_ = DeviceMemory();
  ++scratch_growths_;
  auto larger = DeviceMemory::Make(bytes);
  if (!larger.ok()) return larger.status();
  scratch_ = *std::move(larger);
  return scratch_.data();
}

absl::Status CudaStream::CopyToDevice(void* device, const void* host, size_t bytes) {
  if (capturing_) {
    return Error(absl::StatusCode::kFailedPrecondition, "COPY_IN_CAPTURE",
                 "host memory cannot be copied while a graph is captured: its replays would copy "
                 "what lies there then");
  }
  return staging_.Copy(device, host, bytes, stream_);
}

absl::Status CudaStream::CopyToHost(void* host, const void* device, size_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  return ToStatus(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_),
                  "CopyToHost");
}

absl::Status CudaStream::CopyOnDevice(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  return ToStatus(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_),
                  "CopyOnDevice");
}

}  // namespace darkroom::cuda
