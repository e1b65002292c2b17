#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/ptx/thread.h"

// A tile of a product on the ordinary units, for what the tensor cores cannot take: what Linear and
// Conv2d have in common. A block computes 64x64 sums, a thread 4x4 of them, from tiles of 16
// columns in shared memory. K is summed in ascending order, one fused multiply-add at a time.

namespace darkroom::kernels {

inline constexpr int kSimtTile = 64;
inline constexpr int kSimtDepth = 16;
inline constexpr int kSimtPerThread = 4;
inline constexpr int kSimtSide = kSimtTile / kSimtPerThread;
inline constexpr int kSimtThreads = kSimtSide * kSimtSide;
inline constexpr int kSimtRow = kSimtTile + 4;  // floats between depths: other banks
inline constexpr int kSimtSharedBytes = 2 * kSimtDepth * kSimtRow * static_cast<int>(sizeof(float));

// The line of the tile of which this thread brings the i-th element, 0 <= i < kSimtPerThread.
__device__ inline int SimtLine(int i) {
  return static_cast<int>(threadIdx.x) / kSimtDepth + i * kSimtSide;
}

// row_element(i, k) and column_element(i, k) give element k of row and of column SimtLine(i), zero
// where there is none; `k` may be beyond `depth`. Calls store(row, column, sum), both counted from
// the tile's corner.
template <typename RowElement, typename ColumnElement, typename Store>
__device__ void MultiplySimtTile(int64_t depth, RowElement&& row_element,
                                 ColumnElement&& column_element, Store&& store) {
  auto* rows = reinterpret_cast<float*>(ptx::SharedMemory());  // [kSimtDepth][kSimtRow]
  float* columns = rows + kSimtDepth * kSimtRow;
  const int thread = static_cast<int>(threadIdx.x);
  float sum[kSimtPerThread][kSimtPerThread] = {};
  for (int64_t first = 0; first < depth; first += kSimtDepth) {
    const int to = thread % kSimtDepth * kSimtRow;
#pragma unroll
    for (int i = 0; i < kSimtPerThread; ++i) {
      rows[to + SimtLine(i)] = row_element(i, first + thread % kSimtDepth);
      columns[to + SimtLine(i)] = column_element(i, first + thread % kSimtDepth);
    }
    ptx::SyncBlock();
#pragma unroll
    for (int k = 0; k < kSimtDepth; ++k) {
#pragma unroll
      for (int i = 0; i < kSimtPerThread; ++i) {
        const float left = rows[k * kSimtRow + thread / kSimtSide * kSimtPerThread + i];
#pragma unroll
        for (int j = 0; j < kSimtPerThread; ++j) {
          sum[i][j] = fmaf(left, columns[k * kSimtRow + thread % kSimtSide * kSimtPerThread + j],
                           sum[i][j]);
        }
      }
    }
    ptx::SyncBlock();
  }
#pragma unroll
  for (int i = 0; i < kSimtPerThread; ++i) {
#pragma unroll
    for (int j = 0; j < kSimtPerThread; ++j) {
      store(thread / kSimtSide * kSimtPerThread + i, thread % kSimtSide * kSimtPerThread + j,
            sum[i][j]);
    }
  }
}

}  // namespace darkroom::kernels
