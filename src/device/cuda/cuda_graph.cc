#include "device/cuda/cuda_graph.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "device/cuda/cuda_error.h"

namespace darkroom::cuda {

absl::StatusOr<CudaGraph> CudaGraph::Capture(CudaStream& stream,
                                             absl::FunctionRef<absl::Status()> launch) {
  if (absl::Status status = stream.Enter(); !status.ok()) return status;
  if (absl::Status status =
          ToStatus(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
                   "cudaStreamBeginCapture");
      !status.ok()) {
    return status;
  }
  stream.capturing_ = true;
  const absl::Status launched = launch();
  stream.capturing_ = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream.get(), &graph);
  cudaGraphExec_t exec = nullptr;
  absl::Status status = launched;
  if (status.ok() && ended != cudaSuccess) {
    status = Error(absl::StatusCode::kFailedPrecondition, "CAPTURE_BROKEN",
                   absl::StrCat("the launches cannot be recorded: ", cudaGetErrorString(ended)));
  }
  if (status.ok()) {
    status = ToStatus(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (!status.ok()) return status;
  return CudaGraph(exec);
}

CudaGraph::~CudaGraph() {
  if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
}

absl::Status CudaGraph::Launch(CudaStream& stream) const {
  if (absl::Status status = stream.Enter(); !status.ok()) return status;
  return ToStatus(cudaGraphLaunch(exec_, stream.get()), "cudaGraphLaunch");
}

}  // namespace darkroom::cuda
