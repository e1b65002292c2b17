#pragma once

#include <cstdint>
#include <string>

#include "kernels/common/dtype.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// Refusals in one form: what is wrong, and what would be right.
inline Result CheckRange(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return Result::Invalid(std::string(name) + " is " + std::to_string(value) + "; it must be " +
                         std::to_string(low) + " to " + std::to_string(high));
}

inline Result CheckPresent(const char* name, const void* pointer) {
  if (pointer != nullptr) return {};
  return Result::Invalid(std::string(name) + " is null");
}

// `pointer` may be null.
inline Result CheckAligned(const char* name, const void* pointer, uintptr_t bytes) {
  const uintptr_t beyond = reinterpret_cast<uintptr_t>(pointer) % bytes;
  if (beyond == 0) return {};
  return Result::Invalid(std::string(name) + " is " + std::to_string(beyond) +
                         " bytes behind a multiple of " + std::to_string(bytes) +
                         "; it must be aligned to that");
}

// `pointer`, which may be null, can be read by elements of `dtype`: a kernel that reads others
// would end the process's use of the device.
inline Result CheckElements(const char* name, const void* pointer, DType dtype) {
  return CheckAligned(name, pointer, dtype == DType::kF32 ? sizeof(float) : sizeof(uint16_t));
}

// The first refusal, or success.
template <typename... Results>
Result FirstError(const Results&... results) {
  Result first;
  ((first.ok() ? void(first = results) : void()), ...);
  return first;
}

}  // namespace darkroom::kernels
