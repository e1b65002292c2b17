#pragma once

#include <cstdint>

namespace darkroom::kernels {

struct alignas(16) Bytes16 {
  uint32_t word[4];
};

// Eight neighbouring elements, in one or two accesses of 16 bytes.
inline constexpr int kVectorElements = 8;

inline bool IsAligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(Bytes16) == 0;
}

}  // namespace darkroom::kernels
