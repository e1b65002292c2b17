#pragma once

#include <cuda_runtime_api.h>

#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "device/cuda/cuda_stream.h"

namespace darkroom::cuda {

// Move-only owner of launches that are recorded once and repeated as one: what a step's launches
// cost the host is paid once. Addresses and host arguments are those of the recording; what differs
// from step to step lies in device tables.
class CudaGraph {
 public:
  // Records what `launch` puts on `stream`; nothing of it runs. Its error, or
  // FAILED_PRECONDITION (CAPTURE_BROKEN) when it did something that cannot be recorded. The stream
  // is usable after either.
  static absl::StatusOr<CudaGraph> Capture(CudaStream& stream,
                                           absl::FunctionRef<absl::Status()> launch);
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  CudaGraph(CudaGraph&& other) noexcept : exec_(std::exchange(other.exec_, nullptr)) {}
  CudaGraph& operator=(CudaGraph&& other) noexcept {
    std::swap(exec_, other.exec_);
    return *this;
  }
  ~CudaGraph();

  absl::Status Launch(CudaStream& stream) const;

 private:
  explicit CudaGraph(cudaGraphExec_t exec) : exec_(exec) {}

  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace darkroom::cuda
