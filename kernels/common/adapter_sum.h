#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/adapters.h"
#include "kernels/common/alignment.h"
#include "kernels/ptx/mma.h"
#include "kernels/ptx/thread.h"

// What kernels do with the adapters of a batch (kernels/common/adapters.h). A row's sums take the
// ranks of its own adapters in ascending order and nothing else, so that its bits depend on no
// other row's adapter, however broken that is.

namespace darkroom::kernels {

// Whether the range says something that can be computed; what cannot is left out.
__device__ inline bool IsUsable(const Adapters& adapters, const AdapterRange& range) {
  return range.adapter >= 0 && range.adapter < adapters.matrix_count && range.level >= 0 &&
         range.level < adapters.levels;
}

// Calls visit(range, matrices) for each range that has rows from `first` to `first` + `rows`, in
// their order. All lanes of a warp call it and are visited together.
template <typename Visit>
__device__ void ForEachAdapter(const Adapters& adapters, int64_t first, int64_t rows,
                               Visit&& visit) {
  const int32_t count = *adapters.range_count;
  for (int32_t base = 0; base < count; base += ptx::kWarpThreads) {
    const int32_t mine = base + ptx::Lane();
    bool meets = false;
    if (mine < count) {
      const AdapterRange& range = adapters.ranges[mine];
      meets = range.row_begin < first + rows && range.row_end > first &&
              IsUsable(adapters, range) && adapters.matrices[range.adapter].rank > 0;
    }
    uint32_t met = ptx::Ballot(meets);
    while (met != 0) {
      const AdapterRange range = adapters.ranges[base + ptx::LowestBit(met)];
      met &= met - 1;
      visit(range, adapters.matrices[range.adapter]);
    }
  }
}

// Adds hidden up^T to a warp's sums by mma.sync: of 16 rows from `first_row` on, a multiple of 16,
// and `kFragments` times eight columns from `first_column` on, a multiple of eight. fragment(j)
// gives the thread's four sums of fragment j, as mma.sync's d. `capacity`, `out_features`: of the
// whole product. All lanes of a warp call it. REQUIRES: adapters of bf16.
template <int kFragments, typename Fragment>
__device__ void AddAdapters(const Adapters& adapters, int64_t capacity, int64_t out_features,
                            int64_t first_row, int64_t first_column, Fragment&& fragment) {
  static_assert(kFragments <= ptx::kWarpThreads);
  const int64_t row = first_row + ptx::Lane() / 4;
  ForEachAdapter(
      adapters, first_row, kHiddenRows, [&](const AdapterRange& range, const LowRank& matrix) {
        const bool low = row >= range.row_begin && row < range.row_end;
        const bool high = row + 8 >= range.row_begin && row + 8 < range.row_end;
        UpBlock mine;  // lane j knows fragment j's
        const int64_t column = first_column + ptx::Lane() * kUpColumns;
        if (ptx::Lane() < kFragments && column < out_features) {
          mine = matrix.blocks[column / kUpColumns];
        }
        constexpr int kLanes = ptx::kWarpThreads;
        const auto* hidden = reinterpret_cast<const Bytes16*>(
                                 static_cast<const __nv_bfloat16*>(adapters.hidden) +
                                 HiddenIndex(adapters, capacity, range.level, first_row, 0)) +
                             ptx::Lane() * 2;
        const auto* up = static_cast<const Bytes16*>(matrix.up) + ptx::Lane();
        for (int chunk = 0; chunk < matrix.rank / kRankChunk; ++chunk, hidden += 2 * kLanes) {
          const Bytes16 first = hidden[0];
          const Bytes16 second = hidden[1];
          const int32_t in_block = chunk - mine.begin;
          const bool has = in_block >= 0 && in_block < mine.chunks;
          const int32_t chunk_of_mine = has ? mine.first + in_block : -1;
#pragma unroll
          for (int j = 0; j < kFragments; ++j) {
            // Of the block's own chunks, and where it lies in `up`: below 0 where it has none.
            const int32_t from = ptx::ShuffleFrom(chunk_of_mine, j);
            if (from < 0) continue;
            const Bytes16 w = up[int64_t{from} * kLanes];
            float(&sum)[4] = fragment(j);
            float added[4] = {sum[0], sum[1], sum[2], sum[3]};
            ptx::MmaBf16(added, first.word, w.word[0], w.word[1]);
            ptx::MmaBf16(added, second.word, w.word[2], w.word[3]);
            sum[0] = low ? added[0] : sum[0];
            sum[1] = low ? added[1] : sum[1];
            sum[2] = high ? added[2] : sum[2];
            sum[3] = high ? added[3] : sum[3];
          }
        }
      });
}

// `sum` and what the row's adapters add to it, on the ordinary units.
__device__ inline float AddAdapters(const Adapters& adapters, int64_t capacity, int64_t row,
                                    int64_t column, float sum) {
  for (int32_t i = 0; i < *adapters.range_count; ++i) {
    const AdapterRange& range = adapters.ranges[i];
    if (row < range.row_begin || row >= range.row_end || !IsUsable(adapters, range)) continue;
    const LowRank& matrix = adapters.matrices[range.adapter];
    if (matrix.rank == 0) continue;
    const UpBlock& block = matrix.blocks[column / kUpColumns];
    const int32_t end = (block.begin + block.chunks) * kRankChunk;
    for (int32_t rank = block.begin * kRankChunk; rank < end; ++rank) {
      const int64_t at = HiddenIndex(adapters, capacity, range.level, row, rank);
      sum = fmaf(LoadElement(adapters.hidden, adapters.dtype, at),
                 LoadElement(matrix.up, adapters.dtype, UpIndex(block, column, rank)), sum);
    }
  }
  return sum;
}

}  // namespace darkroom::kernels
