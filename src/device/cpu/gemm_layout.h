#pragma once

#include <cstdint>

namespace darkroom::cpu {

// How the operands of the f32 matrix kernel lie in memory.
//
// A, up to kRowBlock rows of it at once, is cut into blocks of kDepthBlock columns:
// [depth block][row][kRowStride]. The stride is a constant, so that a register tile addresses its
// rows from one pointer, and no multiple of 4096 bytes, so that its rows do not fall into the same
// cache set.
//
// B lies in the order in which it is read, so that it streams through the caches: blocks of
// kColumnBlock columns; in each, blocks of kDepthBlock rows; in each, panels as wide as the
// kernel's register tile; in each, its rows: [column block][depth block][panel][depth][panel
// width]. Columns beyond the last are zeros up to a whole panel.
inline constexpr int kRowBlock = 96;  // a multiple of every SIMD level's tile height
inline constexpr int kDepthBlock = 256;
inline constexpr int kRowStride = kDepthBlock + 16;
// Columns of C that are finished at once: the sums of a row block stay in the second-level cache
// until the epilogue has read them.
inline constexpr int kColumnBlock = 256;

constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

// Where row `depth`, column `column` of a B of `depths` rows and `columns` columns lies; both
// `columns` and kColumnBlock are multiples of `panel_width`.
constexpr int64_t PanelOffset(int64_t depth, int64_t column, int64_t depths, int64_t columns,
                              int64_t panel_width) {
  const int64_t block_begin = column / kColumnBlock * kColumnBlock;
  const int64_t block_columns =
      columns - block_begin < kColumnBlock ? columns - block_begin : kColumnBlock;
  const int64_t depth_begin = depth / kDepthBlock * kDepthBlock;
  const int64_t block_depths =
      depths - depth_begin < kDepthBlock ? depths - depth_begin : kDepthBlock;
  const int64_t panel = (column - block_begin) / panel_width;
  return block_begin * depths + depth_begin * block_columns + panel * block_depths * panel_width +
         (depth - depth_begin) * panel_width + column % panel_width;
}

// Floats that kRowBlock rows of `depth` columns take.
constexpr int64_t RowBlockFloats(int64_t depth) {
  return DivideUp(depth, kDepthBlock) * kRowBlock * kRowStride;
}
// Where row `row`, column `column` lies.
constexpr int64_t RowBlockOffset(int64_t row, int64_t column) {
  return ((column / kDepthBlock) * kRowBlock + row) * kRowStride + column % kDepthBlock;
}

}  // namespace darkroom::cpu
