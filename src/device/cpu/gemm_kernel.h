#pragma once

#include <cstdint>

#include "device/cpu/gemm_layout.h"

namespace darkroom::cpu {

// The f32 matrix kernel. Every element of the result is one chain of fused multiply-adds over k in
// ascending order, whatever the number of rows, the row's place in the tile or the blocking: that
// is why a row's bits cannot depend on the rest of the batch.

// What a register tile reads ahead of its sums, so that memory does not idle while a panel serves
// all rows from the first-level cache.
//
// With `next_a` null: `step` bytes of B at every step of k. Else the block is whole, and each of
// its tiles takes its share of a panel of B, and as much of A, in lines that it asks for every
// kLineSteps: a few instructions in hundreds, where the processor has none to spare.
struct ReadAhead {
  const char* next_b;
  int64_t step;
  const char* next_a = nullptr;
};
inline constexpr int kLineBytes = 64;
inline constexpr int kLineSteps = 16;

template <class V>
inline constexpr int kWholeBlockTiles = kRowBlock / V::kTileRows;
// Bytes of B that all rows read in kLineSteps, and the lines of them that a tile takes.
template <class V>
inline constexpr int kPanelBytes = kLineSteps * 2 * V::kWidth * static_cast<int>(sizeof(float));
template <class V>
inline constexpr int kLines =
    static_cast<int>(DivideUp(kPanelBytes<V> / kLineBytes, kWholeBlockTiles<V>));

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
  const auto add = [&](int64_t k) __attribute__((always_inline)) {
    typename V::Reg column[kVectors];
    for (int v = 0; v < kVectors; ++v) column[v] = LoadColumns<V>(b + (2 * k + v) * V::kWidth);
    for (int r = 0; r < kRows; ++r) {
      const auto x = V::Broadcast(a[r * kRowStride + k]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = V::Fma(x, column[v], sum[r][v]);
    }
  };
  int64_t k = 0;
  if (kRows == V::kTileRows && ahead.next_a != nullptr) {
    for (; k + kLineSteps <= depth; k += kLineSteps) {
      for (int line = 0; line < kLines<V>; ++line) {
        __builtin_prefetch(ahead.next_b + line * kLineBytes, 0, 2);
        __builtin_prefetch(ahead.next_a + line * kLineBytes, 0, 2);
      }
      ahead.next_b += kLines<V> * kLineBytes;
      ahead.next_a += kLines<V> * kLineBytes;
#pragma GCC unroll 16
      for (int i = 0; i < kLineSteps; ++i) add(i);
      a += kLineSteps;
      b += 2 * kLineSteps * V::kWidth;
    }
  }
  for (; k < depth; ++k) {
    __builtin_prefetch(ahead.next_b, 0, 2);
    ahead.next_b += ahead.step;
    add(0);
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

// All rows against one panel, or its first vector, over one depth block. `ahead` is the first
// tile's; the others' follow.
template <class V, int kVectors = 2, class B>
inline void GemmPanel(const float* a, int rows, int64_t depth, const B* b, float* c,
                      int64_t c_stride, bool accumulate, ReadAhead ahead) {
  const int64_t lines = depth / kLineSteps * kLines<V>;
  for (int row = 0; row < rows; row += V::kTileRows) {
    const int height = rows - row < V::kTileRows ? rows - row : V::kTileRows;
    GemmRows<V, kVectors>(height, a + row * kRowStride, b, depth, c + row * c_stride, c_stride,
                          accumulate, ahead);
    if (ahead.next_a != nullptr) {
      ahead.next_b += lines * kLineBytes;
      ahead.next_a += lines * kLineBytes;
    } else {
      ahead.next_b += depth * ahead.step;
    }
  }
}

// What panel `panel` of `panels` reads ahead: the panel behind it, and when the last ones' turn has
// come also A's next depth block, which has lain idle since the last column block.
template <class V, class B>
inline ReadAhead AheadOfPanel(const B* next_b, const float* next_a, int rows, int64_t depth,
                              int64_t panel, int64_t panels) {
  const int64_t tiles = DivideUp(rows, V::kTileRows);
  ReadAhead ahead{reinterpret_cast<const char*>(next_b),
                  DivideUp(2 * V::kWidth * static_cast<int64_t>(sizeof(B)), tiles)};
  if (tiles < kWholeBlockTiles<V>) return ahead;
  constexpr int64_t kBlockBytes = int64_t{kRowBlock} * kRowStride * sizeof(float);
  const int64_t share = depth / kLineSteps * kLines<V> * kLineBytes * tiles;
  const int64_t first = panels - DivideUp(kBlockBytes, share > 0 ? share : kBlockBytes);
  const int64_t turn = panel - (first > 0 ? first : 0);
  ahead.next_a = reinterpret_cast<const char*>(next_a) + (turn > 0 ? turn * share : 0);
  return ahead;
}

// C[rows x panels * panel width] = A B. `a` is laid out as gemm_layout.h says, rows <= kRowBlock;
// `b` is one column block of `panels` panels; rows of C are `c_stride` floats apart.
//
// A bf16 panel that serves several register tiles is widened once for all of them; few rows widen
// as they go, bound by memory anyway.
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
    // The next column block begins with the first.
    const float* next_a = begin + count < depth ? a_block + kRowBlock * kRowStride : a;
    for (int64_t p = 0; p < panels; ++p) {
      const ReadAhead ahead = AheadOfPanel<V>(b + count * kPanel, next_a, rows, count, p, panels);
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
