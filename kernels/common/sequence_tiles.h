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

// The `tile`-th tile of the batch's sequences, one after the other, tiles_of(rows) of each. All
// lanes of a warp call it.
template <typename TilesOf>
__device__ SequenceTile FindTileOf(const PackedBatch& batch, int32_t tile, TilesOf&& tiles_of) {
  const int32_t sequences = *batch.live_sequences;
  int32_t before = 0;
  for (int32_t base = 0; base < sequences; base += ptx::kWarpThreads) {
    const int32_t sequence = base + ptx::Lane();
    int32_t tiles = 0;
    if (sequence < sequences) {
      tiles = tiles_of(RowsOfSequence(batch, sequence));
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

__device__ inline SequenceTile FindTile(const PackedBatch& batch, int32_t tile,
                                        int32_t rows_per_tile) {
  return FindTileOf(batch, tile, [rows_per_tile](const SequenceRows& rows) {
    return (rows.length + rows_per_tile - 1) / rows_per_tile;
  });
}

// Tiles none of which has rows of both runs, for what reads neighbouring rows of the buffer: first
// the prefix's, then the second run's, each of which may end with a smaller one.
struct RunTile {
  int64_t row = 0;   // of the buffer, where it begins
  int32_t rows = 0;  // 1 to rows_per_tile
};

inline int64_t RunTilesMax(const PackedBatch& batch, int32_t rows_per_tile) {
  return batch.capacity / rows_per_tile + 2 * int64_t{batch.sequences_max};
}

__device__ inline int32_t RunTilesOf(const SequenceRows& rows, int32_t rows_per_tile) {
  return (rows.prefix_length + rows_per_tile - 1) / rows_per_tile +
         (rows.length - rows.prefix_length + rows_per_tile - 1) / rows_per_tile;
}

__device__ inline RunTile RunTileOf(const SequenceRows& rows, int32_t tile, int32_t rows_per_tile) {
  const int32_t prefix_tiles = (rows.prefix_length + rows_per_tile - 1) / rows_per_tile;
  const bool in_prefix = tile < prefix_tiles;
  const int32_t first = (in_prefix ? tile : tile - prefix_tiles) * rows_per_tile;
  const int32_t left = (in_prefix ? rows.prefix_length : rows.length - rows.prefix_length) - first;
  return {int64_t{in_prefix ? rows.prefix_begin : rows.begin} + first,
          left < rows_per_tile ? left : rows_per_tile};
}

}  // namespace darkroom::kernels
