#pragma once

#include <cstdint>

#include "kernels/common/alignment.h"
#include "kernels/common/dtype.h"
#include "kernels/ptx/mma.h"

namespace darkroom::kernels {

__device__ inline void LoadVector(const float* from, float (&values)[kVectorElements]) {
  struct Eight {
    Bytes16 half[2];
  };
  const Eight eight = *reinterpret_cast<const Eight*>(from);
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) {
    values[i] = __uint_as_float(eight.half[i / 4].word[i % 4]);
  }
}
__device__ inline void LoadVector(const __nv_bfloat16* from, float (&values)[kVectorElements]) {
  const Bytes16 bytes = *reinterpret_cast<const Bytes16*>(from);
#pragma unroll
  for (int i = 0; i < kVectorElements / 2; ++i) {
    values[2 * i] = __uint_as_float(bytes.word[i] << 16);
    values[2 * i + 1] = __uint_as_float(bytes.word[i] & 0xffff0000u);
  }
}

__device__ inline void StoreVector(float* to, const float (&values)[kVectorElements]) {
  Bytes16 half[2];
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) half[i / 4].word[i % 4] = __float_as_uint(values[i]);
  reinterpret_cast<Bytes16*>(to)[0] = half[0];
  reinterpret_cast<Bytes16*>(to)[1] = half[1];
}
__device__ inline void StoreVector(__nv_bfloat16* to, const float (&values)[kVectorElements]) {
  Bytes16 bytes;
#pragma unroll
  for (int i = 0; i < kVectorElements / 2; ++i) {
    bytes.word[i] = ptx::PackBf16(values[2 * i], values[2 * i + 1]);
  }
  *reinterpret_cast<Bytes16*>(to) = bytes;
}

// Two neighbouring elements of a tensor of f32 or bf16; in one access if `paired`: `data` is 8-byte
// aligned and `index` even.
__device__ inline void StorePair(void* data, DType dtype, int64_t index, float low, float high,
                                 bool paired) {
  if (!paired) {
    StoreElement(data, dtype, index, low);
    StoreElement(data, dtype, index + 1, high);
  } else if (dtype == DType::kBf16) {
    *reinterpret_cast<uint32_t*>(static_cast<__nv_bfloat16*>(data) + index) =
        ptx::PackBf16(low, high);
  } else {
    struct alignas(8) Pair {
      float low, high;
    };
    *reinterpret_cast<Pair*>(static_cast<float*>(data) + index) = {low, high};
  }
}

}  // namespace darkroom::kernels
