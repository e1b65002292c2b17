#pragma once

#include <cstdint>

#include "kernels/ptx/cp_async.h"

// The tensor cores of sm_80 and later: one warp multiplies 16x16 by 16x8 (mma.m16n8k16). Fragment
// layouts are PTX's: with g = lane / 4 and t = lane % 4,
//   a[0..3]: (row g, columns 2t, 2t+1), (row g + 8, the same), (row g, columns 2t + 8, 2t + 9),
//            (row g + 8, the same)
//   b[0..1]: (rows 2t, 2t+1 of column g), (rows 2t + 8, 2t + 9 of column g)
//   d[0..3]: (row g, columns 2t, 2t+1), (row g + 8, the same)

namespace darkroom::kernels::ptx {

// Two bf16 in a register, `low` in the low half, rounded to nearest even.
__device__ inline uint32_t PackBf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Four 8x8 matrices of 16-bit numbers from shared memory: lane l gives the address of row l % 8 of
// matrix l / 8 (16 bytes, aligned) and gets of matrix i the numbers (l / 4, 2 (l % 4)) and the next
// in r[i].
__device__ inline void LoadMatrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}

// The same of the transposed matrices.
__device__ inline void LoadMatricesTransposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}

// d += a b in f32, of bf16.
__device__ inline void MmaBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace darkroom::kernels::ptx
