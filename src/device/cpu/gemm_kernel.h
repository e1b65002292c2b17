#pragma once

#include <cstdint>

#include "device/cpu/gemm_layout.h"

namespace darkroom::cpu {

// The f32 matrix kernel. Every element of the result is one chain of fused multiply-adds over k in
// ascending order, whatever the number of rows, the row's place in the tile or the blocking: that
// is why a row's bits cannot depend on the rest of the batch.

// Where to read ahead while a register tile is summed: `step` bytes further at every step of k.
struct ReadAhead {
  const void* next;
  int64_t step;
};

// B is f32, or bf16 that is widened as it is read: exactly, so that the result's bits are those of
// the same numbers in f32.
template <class V>
inline typename V::Reg LoadColumns(const float* b) {
  return V::Load(b);
}
template <class V>
inline typename V::Reg LoadColumns(const uint16_t* b) {
  return V::LoadBf16(b);
}

// C[kRows x kVectors * width] (+)= A B over `depth` columns of one depth block. `b` is a panel, two
// vectors wide; with kVectors 1 only its first vector is used.
template <class V, int kRows, int kVectors, class B>
inline void GemmRegisterTile(const float* a, const B* b, int64_t depth, float* c, int64_t c_stride,
                             bool accumulate, ReadAhead ahead) {
  typename V::Reg sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = accumulate ? V::Load(c + r * c_stride + v * V::kWidth) : V::Zero();
    }
  }
  const char* next = static_cast<const char*>(ahead.next);
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(next, 0, 2);
    next += ahead.step;
    typename V::Reg column[kVectors];
    for (int v = 0; v < kVectors; ++v) column[v] = LoadColumns<V>(b + v * V::kWidth);
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
template <class V, int kVectors, int kRows = V::kTileRows, class B>
inline void GemmRows(int rows, const float* a, const B* b, int64_t depth, float* c,
                     int64_t c_stride, bool accumulate, ReadAhead ahead) {
  if (rows == kRows) {
    GemmRegisterTile<V, kRows, kVectors>(a, b, depth, c, c_stride, accumulate, ahead);
  } else if constexpr (kRows > 1) {
    GemmRows<V, kVectors, kRows - 1>(rows, a, b, depth, c, c_stride, accumulate, ahead);
  }
}

// All rows against one panel over one depth block.
template <class V, class B>
inline void GemmPanel(const float* a, int rows, int64_t depth, const B* b, float* c,
                      int64_t c_stride, bool accumulate, ReadAhead ahead) {
  for (int row = 0; row < rows; row += V::kTileRows) {
    const int height = rows - row < V::kTileRows ? rows - row : V::kTileRows;
    GemmRows<V, 2>(height, a + row * kRowStride, b, depth, c + row * c_stride, c_stride, accumulate,
                   ahead);
    ahead.next = static_cast<const char*>(ahead.next) + depth * ahead.step;
  }
}

// C[rows x panels * panel width] = A B. `a` is laid out as gemm_layout.h says, rows <= kRowBlock;
// `b` is one column block of `panels` panels; rows of C are `c_stride` floats apart.
//
// A panel serves all rows from the first-level cache, so the memory behind it would idle: each
// register tile reads its share of the next panel ahead, which is worth a tenth of the rate once
// the weights exceed the second-level cache. A bf16 panel that serves several register tiles is
// widened once for all of them; few rows widen as they go, bound by memory anyway.
template <class V, class B>
void GemmTile(const float* a, int rows, int64_t depth, const B* b, int64_t panels, float* c,
              int64_t c_stride) {
  constexpr int kPanel = 2 * V::kWidth;
  constexpr int64_t kTilesToWiden = 3;
  const int64_t tiles = DivideUp(rows, V::kTileRows);
  alignas(64) float wide[sizeof(B) == sizeof(float) ? 1 : kDepthBlock * kPanel];
  for (int64_t begin = 0; begin < depth; begin += kDepthBlock) {
    const int64_t count = depth - begin < kDepthBlock ? depth - begin : kDepthBlock;
    const float* a_block = a + begin / kDepthBlock * kRowBlock * kRowStride;
    for (int64_t p = 0; p < panels; ++p) {
      const ReadAhead ahead{b + count * kPanel,
                            DivideUp(kPanel * static_cast<int64_t>(sizeof(B)), tiles)};
      if (sizeof(B) != sizeof(float) && tiles >= kTilesToWiden) {
        for (int64_t i = 0; i < count * kPanel; i += V::kWidth) {
          V::Store(wide + i, LoadColumns<V>(b + i));
        }
        GemmPanel<V>(a_block, rows, count, wide, c + p * kPanel, c_stride, begin > 0, ahead);
      } else {
        GemmPanel<V>(a_block, rows, count, b, c + p * kPanel, c_stride, begin > 0, ahead);
      }
      b += count * kPanel;
    }
  }
}

}  // namespace darkroom::cpu
