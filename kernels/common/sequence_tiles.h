#pragma once

#include <cstdint>

#include "kernels/common/packed_batch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {

// Where one sequence's rows lie: its prefix, if any, then its second run.
struct SequenceRows {
  int32_t prefix_begin = 0;
  int32_t prefix_length = 0;
  int32_t begin = 0;
  int32_t length = 0;  // of both runs

  // The buffer's row of the sequence's row `i`.
  __device__ int64_t RowOf(int32_t i) const {
    return i < prefix_length ? prefix_begin + i : begin + i - prefix_length;
  }
};

__device__ inline SequenceRows RowsOfSequence(const PackedBatch& batch, int32_t sequence) {
  SequenceRows rows;
  if (batch.prefix_boundaries != nullptr) {
    rows.prefix_begin = batch.prefix_boundaries[sequence];
    rows.prefix_length = batch.prefix_boundaries[sequence + 1] - rows.prefix_begin;
  }
  rows.begin = batch.boundaries[sequence];
  rows.length = rows.prefix_length + batch.boundaries[sequence + 1] - rows.begin;
  return rows;
}

// A run of `rows_per_tile` rows, counted from its sequence's first.
struct SequenceTile {
  int32_t sequence = -1;  // -1: there are fewer tiles
  int32_t index = 0;      // within the sequence
};

// More tiles than the sequences of a batch can have.
inline int64_t SequenceTilesMax(const PackedBatch& batch, int32_t rows_per_tile) {
  return batch.capacity / rows_per_tile + batch.sequences_max;
}

// The `tile`-th tile of the batch's sequences, one after the other. All lanes of a warp call it.
__device__ inline SequenceTile FindTile(const PackedBatch& batch, int32_t tile,
                                        int32_t rows_per_tile) {
  const int32_t sequences = *batch.live_sequences;
  int32_t before = 0;
  for (int32_t base = 0; base < sequences; base += ptx::kWarpThreads) {
    const int32_t sequence = base + ptx::Lane();
    int32_t tiles = 0;
    if (sequence < sequences) {
      tiles = (RowsOfSequence(batch, sequence).length + rows_per_tile - 1) / rows_per_tile;
    }
    int32_t up_to = tiles;  // of this lane's sequence and those before it in the warp
    for (int by = 1; by < ptx::kWarpThreads; by *= 2) {
      const int32_t lower = ptx::ShuffleUp(up_to, by);
      if (ptx::Lane() >= by) up_to += lower;
    }
    const uint32_t beyond = ptx::Ballot(before + up_to > tile);
    if (beyond != 0) {
      const int lane = ptx::LowestBit(beyond);
      return {base + lane, tile - before - ptx::ShuffleFrom(up_to - tiles, lane)};
    }
    before += ptx::ShuffleFrom(up_to, ptx::kWarpThreads - 1);
  }
  return {};
}

}  // namespace darkroom::kernels
