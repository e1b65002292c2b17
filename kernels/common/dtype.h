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

// The same for ops whose rows are f32 or bf16 only.
template <typename Function>
auto DispatchRowDType(DType dtype, Function&& function) {
  return dtype == DType::kBf16 ? function(__nv_bfloat16{}) : function(float{});
}

inline bool IsRowDType(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBf16; }

__host__ __device__ inline float ToFloat(float value) { return value; }
__host__ __device__ inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__host__ __device__ inline float ToFloat(__half value) { return __half2float(value); }

// Rounded to nearest even.
template <typename T>
__host__ __device__ T FromFloat(float value);
template <>
__host__ __device__ inline float FromFloat<float>(float value) {
  return value;
}
template <>
__host__ __device__ inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// Element `index` of a tensor whose dtype is known at run time, f32 or bf16.
__host__ __device__ inline float LoadElement(const void* data, DType dtype, int64_t index) {
  return dtype == DType::kBf16 ? ToFloat(static_cast<const __nv_bfloat16*>(data)[index])
                               : static_cast<const float*>(data)[index];
}
__host__ __device__ inline void StoreElement(void* data, DType dtype, int64_t index, float value) {
  if (dtype == DType::kBf16) {
    static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16_rn(value);
  } else {
    static_cast<float*>(data)[index] = value;
  }
}

}  // namespace darkroom::kernels
