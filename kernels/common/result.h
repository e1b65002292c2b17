#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

namespace darkroom::kernels {

// What a launcher returns, since kernels/ knows no Abseil: success, a refusal of the arguments
// (cudaErrorInvalidValue and what is wrong with them), or the error of the launch itself.
struct Result {
  cudaError_t code = cudaSuccess;
  std::string message;

  bool ok() const { return code == cudaSuccess; }

  static Result Invalid(std::string message) {
    return Result{cudaErrorInvalidValue, std::move(message)};
  }
  static Result FromCuda(cudaError_t code) {
    return code == cudaSuccess ? Result{} : Result{code, cudaGetErrorString(code)};
  }
};

}  // namespace darkroom::kernels
