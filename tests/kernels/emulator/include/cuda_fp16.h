#pragma once

// Names and types are CUDA's.
// NOLINTBEGIN(bugprone-*,google-*,readability-*)

// float16 as CUDA has it, by the compiler's own type.
struct __half {
  _Float16 value = 0;

  __half() = default;
  explicit __half(float number) : value(static_cast<_Float16>(number)) {}
};

inline float __half2float(__half number) { return static_cast<float>(number.value); }
inline __half __float2half_rn(float number) { return __half(number); }
// NOLINTEND(bugprone-*,google-*,readability-*)
