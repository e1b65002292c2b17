#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

// Low-rank adapters (LoRA, arXiv:2106.09685) of a packed batch: rows of different sequences are
// changed by different ones. A product x W^T becomes x W^T + weight * (x down^T) up^T in two
// launches: AdapterDown (kernels/ops/adapter_down) writes `hidden` = weight * (x down^T), and
// Linear adds hidden up^T to its sums before the activation.
//
// `up` and `hidden` lie as mma.sync takes them, so that a lane fetches its share of eight columns
// by 32 ranks, or of 16 rows by 32 ranks, in accesses of 16 bytes. The ordinary units read the same
// by index.

namespace darkroom::kernels {

// Ranks that are multiplied in one go: adapters are padded with zeros to multiples of it.
inline constexpr int kRankChunk = 32;
inline constexpr int kUpColumns = 8;
inline constexpr int kHiddenRows = 16;
inline constexpr int kUpChunkElements = kUpColumns * kRankChunk;
inline constexpr int kHiddenChunkElements = kHiddenRows * kRankChunk;

// The ranks that reach eight neighbouring columns: of a fused projection's each part has its own.
struct UpBlock {
  int32_t first = 0;   // of its chunks in `up`
  int16_t begin = 0;   // chunks of ranks
  int16_t chunks = 0;  // 0: the adapter leaves these columns alone
};

// One adapter's matrices for one weight, in device memory.
struct LowRank {
  const void* down = nullptr;       // [rank, in_features]
  const void* up = nullptr;         // chunks, see UpIndex
  const UpBlock* blocks = nullptr;  // [out_features / 8, rounded up]
  int32_t rank = 0;                 // a multiple of kRankChunk; 0: none
  int32_t pad = 0;
};

// The adapters of one product.
struct Adapters {
  // Device memory; what the ranges mean is told in include/darkroom/packed_batch.h.
  const AdapterRange* ranges = nullptr;  // null: no adapters at all
  const int32_t* range_count = nullptr;  // [1]
  int32_t levels = 0;                    // more than any range's level
  const LowRank* matrices = nullptr;     // [matrix_count], by the ranges' adapter
  int32_t matrix_count = 0;
  int32_t rank_max = 0;        // of the matrices; a multiple of kRankChunk
  DType dtype = DType::kBf16;  // of down, up and hidden: bf16 or f32
  void* hidden = nullptr;      // HiddenElements, see HiddenIndex
};

// Where element (column, rank) lies in `up`. REQUIRES: `rank` in the block's chunks.
__host__ __device__ inline int64_t UpIndex(const UpBlock& block, int64_t column, int32_t rank) {
  const auto lane = static_cast<int32_t>(column % kUpColumns) * 4 + rank % 8 / 2;
  return (int64_t{block.first} + rank / kRankChunk - block.begin) * kUpChunkElements + lane * 8 +
         rank % kRankChunk / 8 * 2 + rank % 2;
}

// Where element (level, row, rank) lies in `hidden`.
__host__ __device__ inline int64_t HiddenIndex(const Adapters& adapters, int64_t capacity,
                                               int32_t level, int64_t row, int32_t rank) {
  const int64_t row_blocks = (capacity + kHiddenRows - 1) / kHiddenRows;
  const int64_t chunk =
      (level * row_blocks + row / kHiddenRows) * (adapters.rank_max / kRankChunk) +
      rank / kRankChunk;
  const auto lane = static_cast<int32_t>(row % 8) * 4 + rank % 8 / 2;
  const auto word = rank % kRankChunk / 8 * 2 + static_cast<int32_t>(row % kHiddenRows / 8);
  return chunk * kHiddenChunkElements + lane * 16 + word * 2 + rank % 2;
}

inline int64_t HiddenElements(int64_t capacity, int32_t levels, int32_t rank_max) {
  return levels * ((capacity + kHiddenRows - 1) / kHiddenRows * kHiddenRows) * rank_max;
}

// How an adapter of a weight whose parts lie one below the other is laid out. Part i's ranks follow
// part i - 1's padded ones; a block of columns on the border of two parts has the ranks of both,
// with zeros where they do not meet.
struct AdapterPartShape {
  int64_t columns = 0;
  int32_t rank = 0;  // 0: the adapter leaves this part alone
};
struct AdapterPlan {
  std::vector<UpBlock> blocks;
  std::vector<int32_t> first_rank;  // of each part
  int32_t rank = 0;
  int64_t up_elements = 0;
};
AdapterPlan PlanAdapter(std::span<const AdapterPartShape> parts);

// REQUIRES: adapters.ranges != nullptr.
Result ValidateAdapters(const Adapters& adapters);

}  // namespace darkroom::kernels
