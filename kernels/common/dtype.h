#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace darkroom::kernels {

// Types of activations.
enum class DType : uint8_t { kF32, kBf16, kF16 };

// Calls `function` with a value of the C++ type that `dtype` stands for, so that kernels are chosen
// by one templated lambda instead of nested macros.
template <typename Function>
auto DispatchDType(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kBf16:
      return function(__nv_bfloat16{});
    case DType::kF16:
      return function(__half{});
    case DType::kF32:
      break;
  }
  return function(float{});
}

__host__ __device__ inline float ToFloat(float value) { return value; }
__host__ __device__ inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__host__ __device__ inline float ToFloat(__half value) { return __half2float(value); }

}  // namespace darkroom::kernels
