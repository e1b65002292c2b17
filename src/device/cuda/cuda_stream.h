#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"
#include "device/cuda/cuda_memory.h"

namespace darkroom::cuda {

class GraphCache;

// Move-only owner of an event, for waiting until a stream has come so far.
class CudaEvent {
 public:
  CudaEvent() = default;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent();

  // Made when it is first needed.
  absl::Status Record(cudaStream_t stream);
  // Until what was on the stream at the last Record has run; at once if there was none.
  absl::Status Wait();

 private:
  cudaEvent_t event_ = nullptr;
};

// Pinned memory through which host memory goes to the device, so that the caller may change his as
// soon as the call returns. Two halves: while the copies out of one run, the other is filled.
class Staging {
 public:
  absl::Status Copy(void* device, const void* host, size_t bytes, cudaStream_t stream);

 private:
  struct Half {
    PinnedMemory memory;
    size_t used = 0;
    CudaEvent done;
  };
  absl::Status NextHalf(cudaStream_t stream);

  std::array<Half, 2> halves_;
  int current_ = 0;
};

// A stream of one device that does not wait for the default one, with what ops on it need: scratch
// memory, which is theirs one after the other, and staging for copies. When CUDA cannot make one,
// Synchronize and every op on it tell why. Thread: one at a time.
class CudaStream : public Stream {
 public:
  explicit CudaStream(int device);
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() override;

  absl::Status Synchronize() override;

  // Whether there is a stream, and its device made the calling thread's: before every op.
  absl::Status Enter() const;
  cudaStream_t get() const { return stream_; }

  // `bytes` of device memory, until the next call; contents of no meaning. Grows while the largest
  // shapes run once, waiting for the stream. FAILED_PRECONDITION (GROWS_IN_CAPTURE) while a graph
  // is captured, which would keep the address of memory that is gone.
  absl::StatusOr<void*> Scratch(size_t bytes);

  // Host memory may be changed when this returns.
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes);
  // Host memory is filled when the stream was synchronised.
  absl::Status CopyToHost(void* host, const void* device, size_t bytes);
  absl::Status CopyOnDevice(void* to, const void* from, size_t bytes);

  bool capturing() const { return capturing_; }
  // Changes whenever Scratch has moved: what was recorded before is of no more use.
  int scratch_growths() const { return scratch_growths_; }
  GraphCache& graphs() { return *graphs_; }

 private:
  friend class CudaGraph;

  const int device_;
  cudaStream_t stream_ = nullptr;
  absl::Status status_;
  DeviceMemory scratch_;
  int scratch_growths_ = 0;
  std::unique_ptr<GraphCache> graphs_;
  Staging staging_;
  bool capturing_ = false;
};

}  // namespace darkroom::cuda
