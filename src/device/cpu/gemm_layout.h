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
// B is cut into panels as wide as the kernel's register tile: [panel][depth][panel width], columns
// beyond the last filled with zeros.
inline constexpr int kRowBlock = 96;  // a multiple of every SIMD level's tile height
inline constexpr int kDepthBlock = 256;
inline constexpr int kRowStride = kDepthBlock + 16;
// Columns of C that are finished at once: the sums of a row block stay in the second-level cache
// until the epilogue has read them.
inline constexpr int kColumnBlock = 256;

constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

// Floats that kRowBlock rows of `depth` columns take.
constexpr int64_t RowBlockFloats(int64_t depth) {
  return DivideUp(depth, kDepthBlock) * kRowBlock * kRowStride;
}
// Where row `row`, column `column` lies.
constexpr int64_t RowBlockOffset(int64_t row, int64_t column) {
  return ((column / kDepthBlock) * kRowBlock + row) * kRowStride + column % kDepthBlock;
}

}  // namespace darkroom::cpu
