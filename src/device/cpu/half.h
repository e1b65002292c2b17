#pragma once

#include <cstdint>
#include <cstring>

#include "darkroom/tensor.h"

namespace darkroom::cpu {

// One element at a time, for packing weights; the kernels have their own for rows.

inline float FloatFromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float Bf16ToFloat(uint16_t bits) { return FloatFromBits(uint32_t{bits} << 16); }

// To the nearest, ties to even; NaN stays one.
inline uint16_t Bf16FromFloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (value != value) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float F16ToFloat(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0x1f) return FloatFromBits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return FloatFromBits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // Denormal, or zero: mantissa * 2^-24.
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
  return sign != 0 ? -magnitude : magnitude;
}

// Element `i` of memory that may be unaligned.
template <typename T>
inline T LoadElement(const void* data, int64_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + i * static_cast<int64_t>(sizeof(T)),
              sizeof(T));
  return value;
}

// Element `i` of host or device memory of a floating-point dtype, aligned or not.
inline float ElementAt(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kBf16:
      return Bf16ToFloat(LoadElement<uint16_t>(data, i));
    case DType::kF16:
      return F16ToFloat(LoadElement<uint16_t>(data, i));
    default:
      return LoadElement<float>(data, i);
  }
}

// `count` elements from the `first` on, as f32.
inline void ReadElements(const void* data, DType dtype, int64_t first, int64_t count, float* to) {
  switch (dtype) {
    case DType::kBf16:
      for (int64_t i = 0; i < count; ++i) {
        to[i] = Bf16ToFloat(LoadElement<uint16_t>(data, first + i));
      }
      break;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) {
        to[i] = F16ToFloat(LoadElement<uint16_t>(data, first + i));
      }
      break;
    default:
      std::memcpy(to, static_cast<const float*>(data) + first, count * sizeof(float));
  }
}

}  // namespace darkroom::cpu
