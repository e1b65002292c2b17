#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// A dense tensor of f32 or bf16 in device memory.
struct DenseTensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t elements = 0;
};

// out = x + y, with y repeated as often as x is longer: x.elements is a multiple of y.elements.
Result Add(const DenseTensor& x, const DenseTensor& y, const DenseTensor& out, cudaStream_t stream);
// out = x * sigmoid(x)
Result Silu(const DenseTensor& x, const DenseTensor& out, cudaStream_t stream);
// out = x in out's dtype, rounded to nearest even.
Result Convert(const DenseTensor& x, const DenseTensor& out, cudaStream_t stream);

}  // namespace darkroom::kernels
