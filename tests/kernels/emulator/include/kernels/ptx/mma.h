#pragma once

#include <cuda_bf16.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/ptx/cp_async.h"

// kernels/ptx/mma.h for the emulator. Products are summed in float64 and rounded once, which is not
// what a tensor core does: results are compared with tolerances.

namespace darkroom::kernels::ptx {

inline uint32_t PackBf16(float low, float high) {
  return uint32_t{__nv_bfloat16(high).bits} << 16 | __nv_bfloat16(low).bits;
}

struct MatrixLoad {
  const void* row;
  uint32_t* r;
};

template <bool kTransposed>
void LoadMatricesOf(void** brought, int /*count*/) {
  const auto element = [&](int matrix, int row, int column) {
    uint16_t bits;
    const void* from = static_cast<MatrixLoad*>(brought[matrix * 8 + row])->row;
    std::memcpy(&bits, static_cast<const uint8_t*>(from) + 2 * column, sizeof(bits));
    return uint32_t{bits};
  };
  for (int lane = 0; lane < 32; ++lane) {
    const int row = lane / 4;
    const int column = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      static_cast<MatrixLoad*>(brought[lane])->r[i] =
          kTransposed ? element(i, column, row) | element(i, column + 1, row) << 16
                      : element(i, row, column) | element(i, row, column + 1) << 16;
    }
  }
}

inline void LoadMatrices(uint32_t (&r)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulator::Fail("ldmatrix of an unaligned row");
  MatrixLoad mine{row, r};
  emulator::MeetWarp("ldmatrix", &mine, LoadMatricesOf<false>);
}
inline void LoadMatricesTransposed(uint32_t (&r)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulator::Fail("ldmatrix of an unaligned row");
  MatrixLoad mine{row, r};
  emulator::MeetWarp("ldmatrix.trans", &mine, LoadMatricesOf<true>);
}

struct Mma {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

inline double HalfOf(uint32_t pair, int half) {
  return std::bit_cast<float>(half == 0 ? pair << 16 : pair & 0xffff0000u);
}

inline void MultiplyWarp(void** brought, int /*count*/) {
  const auto lane = [&](int l) { return static_cast<Mma*>(brought[l]); };
  double a[16][16];
  double b[8][16];  // by columns
  for (int l = 0; l < 32; ++l) {
    for (int i = 0; i < 8; ++i) {
      const int k = l % 4 * 2 + i / 4 * 8 + i % 2;
      a[l / 4 + i / 2 % 2 * 8][k] = HalfOf(lane(l)->a[i / 2], i % 2);
      if (i / 2 % 2 == 0) b[l / 4][k] = HalfOf(lane(l)->b[i / 4], i % 2);
    }
  }
  for (int l = 0; l < 32; ++l) {
    for (int i = 0; i < 4; ++i) {
      double sum = lane(l)->d[i];
      for (int k = 0; k < 16; ++k) {
        sum += a[l / 4 + i / 2 * 8][k] * b[l % 4 * 2 + i % 2][k];
      }
      lane(l)->d[i] = static_cast<float>(sum);
    }
  }
}

inline void MmaBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Mma mine{d, a, {b0, b1}};
  emulator::MeetWarp("mma", &mine, MultiplyWarp);
}

}  // namespace darkroom::kernels::ptx
