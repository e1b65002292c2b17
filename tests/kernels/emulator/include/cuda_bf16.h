#pragma once

// Names and types are CUDA's.
// NOLINTBEGIN(bugprone-*,google-*,readability-*)

#include <cuda_runtime_api.h>

#include <bit>
#include <cmath>
#include <cstdint>

// bfloat16 as CUDA has it: rounded to nearest even, NaN canonical.
struct __nv_bfloat16 {
  uint16_t bits = 0;

  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float value) {
    const auto word = std::bit_cast<uint32_t>(value);
    bits = std::isnan(value) ? 0x7fff
                             : static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
  }
};

inline float __bfloat162float(__nv_bfloat16 value) {
  return std::bit_cast<float>(uint32_t{value.bits} << 16);
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
// NOLINTEND(bugprone-*,google-*,readability-*)
