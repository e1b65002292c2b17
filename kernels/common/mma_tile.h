#pragma once

#include <cstdint>

#include "kernels/common/alignment.h"
#include "kernels/common/dtype.h"
#include "kernels/ptx/cp_async.h"
#include "kernels/ptx/mma.h"
#include "kernels/ptx/thread.h"

// A tile of a product on the tensor cores by mma.sync: what Linear and Conv2d have in common. A
// block multiplies rows by columns, both of whose elements lie K-contiguous, as mma's row.col form
// wants them; tiles 64 deep come through three stages of shared memory by cp.async.
//
// Shared memory: rows of 128 bytes as 8 chunks of 16; chunk c of row r lies at c ^ (r % 8), so that
// the 8 rows that ldmatrix reads at one chunk lie in different banks. K is summed in ascending
// steps of 16 whatever the tile.

namespace darkroom::kernels {

inline constexpr int kMmaDepth = 64;
inline constexpr int kMmaStages = 3;
inline constexpr int kMmaChunks = kMmaDepth / kVectorElements;
inline constexpr int kMmaRowBytes = kMmaDepth * 2;

// kRowWarps x kColumnWarps warps share the tile. With more than one group of such warps, groups
// take turns with the steps of K, each in stages of its own; their sums are added by the caller.
template <int kTileRows, int kTileColumns, int kRowWarps, int kColumnWarps, int kDepthGroups = 1>
struct MmaTile {
  static constexpr int kRows = kTileRows;
  static constexpr int kColumns = kTileColumns;
  static constexpr int kGroups = kDepthGroups;
  static constexpr int kGroupWarps = kRowWarps * kColumnWarps;
  static constexpr int kGroupThreads = kGroupWarps * ptx::kWarpThreads;
  static constexpr int kThreads = kGroupThreads * kGroups;
  static constexpr int kWarpRows = kTileRows / kRowWarps;
  static constexpr int kWarpColumns = kTileColumns / kColumnWarps;
  static constexpr int kRowFragments = kWarpRows / 16;
  static constexpr int kColumnFragments = kWarpColumns / 8;
  static constexpr int kStageBytes = (kTileRows + kTileColumns) * kMmaRowBytes;
  static constexpr int kSharedBytes = kGroups * kMmaStages * kStageBytes;
  static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0);

  // What a thread has of the tile: of row fragment i and column fragment j as mma's d.
  using Sums = float[kRowFragments][kColumnFragments][4];

  static __device__ int Group() { return kGroups == 1 ? 0 : ptx::Warp() / kGroupWarps; }
  static __device__ int WarpRow() { return ptx::Warp() % kGroupWarps / kColumnWarps * kWarpRows; }
  static __device__ int WarpColumn() { return ptx::Warp() % kColumnWarps * kWarpColumns; }
};

__device__ inline int MmaChunkOffset(int row, int chunk) {
  return row * kMmaRowBytes + (chunk ^ (row % kMmaChunks)) * 16;
}

// Brings chunks of `kRows` rows on their way to `tile` by `kThreads` threads, a group's: source(i,
// row, chunk) gives the address of eight elements, or null for zeros, of the i-th chunk that this
// thread brings. `anywhere` is some address that may be read.
template <int kRows, int kThreads, typename Source>
__device__ void LoadMmaTile(uint8_t* tile, const __nv_bfloat16* anywhere, Source&& source) {
  static_assert(kRows * kMmaChunks % kThreads == 0);
#pragma unroll
  for (int i = 0; i < kRows * kMmaChunks / kThreads; ++i) {
    const int index = i * kThreads + static_cast<int>(threadIdx.x) % kThreads;
    const int row = index / kMmaChunks;
    const int chunk = index % kMmaChunks;
    const __nv_bfloat16* from = source(i, row, chunk);
    ptx::CopyAsync16(tile + MmaChunkOffset(row, chunk), from != nullptr ? from : anywhere,
                     from != nullptr);
  }
}

template <typename T>
__device__ void MultiplyMmaStage(const uint8_t* rows, const uint8_t* columns,
                                 typename T::Sums& sum) {
  const int matrix = ptx::Lane() / 8;
  const int line = ptx::Lane() % 8;
#pragma unroll
  for (int step = 0; step < kMmaDepth / 16; ++step) {
    uint32_t x[T::kRowFragments][4];
#pragma unroll
    for (int i = 0; i < T::kRowFragments; ++i) {
      const int row = T::WarpRow() + i * 16 + line + matrix % 2 * 8;
      ptx::LoadMatrices(x[i], rows + MmaChunkOffset(row, 2 * step + matrix / 2));
    }
#pragma unroll
    for (int j = 0; j < T::kColumnFragments; j += 2) {
      uint32_t w[4];
      const int column = T::WarpColumn() + j * 8 + line + matrix / 2 * 8;
      ptx::LoadMatrices(w, columns + MmaChunkOffset(column, 2 * step + matrix % 2));
#pragma unroll
      for (int i = 0; i < T::kRowFragments; ++i) {
        ptx::MmaBf16(sum[i][j], x[i], w[0], w[1]);
        ptx::MmaBf16(sum[i][j + 1], x[i], w[2], w[3]);
      }
    }
  }
}

// The whole product, or a group's part of it. `load` brings depth step k0 / 64 into a stage:
// load(stage of rows, stage of columns, k0); k0 may be beyond `depth`. `sum` begins as zeros.
template <typename T, typename Load>
__device__ void MultiplyMmaTile(int64_t depth, Load&& load, typename T::Sums& sum) {
  uint8_t* shared = ptx::SharedMemory() + T::Group() * kMmaStages * T::kStageBytes;
  constexpr int kStepDepth = T::kGroups * kMmaDepth;
  const int steps = static_cast<int>((depth + kStepDepth - 1) / kStepDepth);
  const auto load_step = [&](int step) {
    uint8_t* stage = shared + step % kMmaStages * T::kStageBytes;
    if (step < steps) {
      load(stage, stage + T::kRows * kMmaRowBytes,
           int64_t{step} * kStepDepth + T::Group() * kMmaDepth);
    }
    ptx::CommitCopies();  // an empty group where nothing is left, so that counts stay right
  };
  for (int step = 0; step < kMmaStages - 1; ++step) load_step(step);
  for (int step = 0; step < steps; ++step) {
    ptx::WaitCopies<kMmaStages - 2>();
    ptx::SyncBlock();  // this stage has come for all; all are done with the one before
    load_step(step + kMmaStages - 1);
    const uint8_t* stage = shared + step % kMmaStages * T::kStageBytes;
    MultiplyMmaStage<T>(stage, stage + T::kRows * kMmaRowBytes, sum);
  }
}

// Calls store(row, column, first, second) for the sums of each pair of neighbouring columns, both
// counted from the tile's corner; rows for which `has_row` is false are left out.
template <typename T, typename HasRow, typename Store>
__device__ void StoreMmaTile(const typename T::Sums& sum, HasRow&& has_row, Store&& store) {
#pragma unroll
  for (int i = 0; i < T::kRowFragments; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = T::WarpRow() + i * 16 + half * 8 + ptx::Lane() / 4;
      if (!has_row(row)) continue;
#pragma unroll
      for (int j = 0; j < T::kColumnFragments; ++j) {
        store(row, T::WarpColumn() + j * 8 + ptx::Lane() % 4 * 2, sum[i][j][2 * half],
              sum[i][j][2 * half + 1]);
      }
    }
  }
}

}  // namespace darkroom::kernels
