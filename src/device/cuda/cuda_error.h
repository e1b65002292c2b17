#pragma once

#include <cuda_runtime_api.h>

#include <source_location>

#include "absl/status/status.h"
#include "kernels/common/result.h"

namespace darkroom::cuda {

// A CUDA call's result as a Status that says where it was made: OUT_OF_DEVICE_MEMORY as
// RESOURCE_EXHAUSTED, anything else INTERNAL with the reason CUDA_ERROR. Some errors are sticky:
// the context is lost, and the worker process ends.
absl::Status ToStatus(cudaError_t code, const char* what,
                      std::source_location where = std::source_location::current());

// A launcher's result: a refusal of arguments is INVALID_ARGUMENT, as from op_check.h.
absl::Status ToStatus(const char* op, const kernels::Result& result,
                      std::source_location where = std::source_location::current());

}  // namespace darkroom::cuda
