#pragma once

#include <cstdint>

#include "device/cpu/gemm_layout.h"

namespace darkroom::cpu {

// The f32 matrix kernel. Every element of the result is one chain of fused multiply-adds over k in
// ascending order, whatever the number of rows, the row's place in the tile or the blocking: that
// is why a row's bits cannot depend on the rest of the batch.

// Where to read ahead while a register tile is summed: `step` floats further at every step of k.
struct ReadAhead {
  const float* next;
  int64_t step;
};

// C[kRows x kVectors * width] (+)= A B over `depth` columns of one depth block. `b` is a panel, two
// vectors wide; with kVectors 1 only its first vector is used.
template <class V, int kRows, int kVectors>
inline void GemmRegisterTile(const float* a, const float* b, int64_t depth, float* c,
                             int64_t c_stride, bool accumulate, ReadAhead ahead) {
  typename V::Reg sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = accumulate ? V::Load(c + r * c_stride + v * V::kWidth) : V::Zero();
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(ahead.next, 0, 2);
    ahead.next += ahead.step;
    typename V::Reg column[kVectors];
    for (int v = 0; v < kVectors; ++v) column[v] = V::Load(b + v * V::kWidth);
    for (int r = 0; r < kRows; ++r) {
      const auto x = V::Broadcast(a[r * kRowStride]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = V::Fma(x, column[v], sum[r][v]);
    }
    ++a;
    b += 2 * V::kWidth;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) V::Store(c + r * c_stride + v * V::kWidth, sum[r][v]);
  }
}

// The same for 1 to V::kTileRows rows.
template <class V, int kVectors, int kRows = V::kTileRows>
inline void GemmRows(int rows, const float* a, const float* b, int64_t depth, float* c,
                     int64_t c_stride, bool accumulate, ReadAhead ahead) {
  if (rows == kRows) {
    GemmRegisterTile<V, kRows, kVectors>(a, b, depth, c, c_stride, accumulate, ahead);
  } else if constexpr (kRows > 1) {
    GemmRows<V, kVectors, kRows - 1>(rows, a, b, depth, c, c_stride, accumulate, ahead);
  }
}

// C[rows x panels * panel width] = A B. `a` is laid out as gemm_layout.h says, rows <= kRowBlock;
// `b` is one column block of `panels` panels; rows of C are `c_stride` floats apart.
//
// A panel serves all rows from the first-level cache, so the memory behind it would idle: each
// register tile reads its share of the next panel ahead, which is worth a tenth of the rate once
// the weights exceed the second-level cache.
template <class V>
void GemmTile(const float* a, int rows, int64_t depth, const float* b, int64_t panels, float* c,
              int64_t c_stride) {
  constexpr int kPanel = 2 * V::kWidth;
  const int64_t tiles = DivideUp(rows, V::kTileRows);
  for (int64_t begin = 0; begin < depth; begin += kDepthBlock) {
    const int64_t count = depth - begin < kDepthBlock ? depth - begin : kDepthBlock;
    const float* a_block = a + begin / kDepthBlock * kRowBlock * kRowStride;
    for (int64_t p = 0; p < panels; ++p) {
      ReadAhead ahead{b + count * kPanel, DivideUp(kPanel, tiles)};
      for (int row = 0; row < rows; row += V::kTileRows) {
        const int height = rows - row < V::kTileRows ? rows - row : V::kTileRows;
        GemmRows<V, 2>(height, a_block + row * kRowStride, b, count,
                       c + row * c_stride + p * kPanel, c_stride, begin > 0, ahead);
        ahead.next += count * ahead.step;
      }
      b += count * kPanel;
    }
  }
}

}  // namespace darkroom::cpu
