#include "device/cuda/cuda_error.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom::cuda {
namespace {

// The file's name alone: an error has no path of the machine that it was built on.
std::string Place(const std::source_location& where) {
  const std::string file = where.file_name();
  return absl::StrCat(file.substr(file.rfind('/') + 1), ":", static_cast<int>(where.line()));
}

}  // namespace

absl::Status ToStatus(cudaError_t code, const char* what, std::source_location where) {
  if (code == cudaSuccess) return absl::OkStatus();
  const std::string text = absl::StrCat(what, ": ", cudaGetErrorString(code), " (CUDA error ",
                                        static_cast<int>(code), ", ", Place(where), ")");
  if (code == cudaErrorMemoryAllocation) {
    return Error(absl::StatusCode::kResourceExhausted, "OUT_OF_DEVICE_MEMORY", text);
  }
  return Error(absl::StatusCode::kInternal, "CUDA_ERROR", text);
}

absl::Status ToStatus(const char* op, const kernels::Result& result, std::source_location where) {
  if (result.ok()) return absl::OkStatus();
  if (result.code == cudaErrorInvalidValue) {
    return absl::InvalidArgumentError(absl::StrCat(op, ": ", result.message));
  }
  return ToStatus(result.code, op, where);
}

}  // namespace darkroom::cuda
