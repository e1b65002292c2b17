// Linear on the tensor cores by mma.sync, for sm_80 and later. A block computes a tile of `out`;
// tiles of x and of the weight, 64 deep, come through three stages of shared memory by cp.async.
// Both lie K-contiguous, as mma's row.col form wants them, so neither is transposed.
//
// Shared memory: rows of 128 bytes as 8 chunks of 16; chunk c of row r lies at c ^ (r % 8), so that
// the 8 rows that ldmatrix reads at one chunk lie in different banks. K is summed in ascending
// steps of 16 whatever the tile.
#include "kernels/common/vectors.h"
#include "kernels/ops/linear/linear_epilogue.h"
#include "kernels/ptx/cp_async.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/mma.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kDepth = 64;
constexpr int kStages = 3;
constexpr int kChunkBytes = 16;
constexpr int kChunks = kDepth * 2 / kChunkBytes;
constexpr int kRowBytes = kDepth * 2;

__device__ inline int ChunkOffset(int row, int chunk) {
  return row * kRowBytes + (chunk ^ (row % kChunks)) * kChunkBytes;
}

// kRowWarps x kColumnWarps warps share the tile.
template <int kTileRows, int kTileColumns, int kRowWarps, int kColumnWarps>
struct Shape {
  static constexpr int kRows = kTileRows;
  static constexpr int kColumns = kTileColumns;
  static constexpr int kThreads = kRowWarps * kColumnWarps * ptx::kWarpThreads;
  static constexpr int kWarpRows = kTileRows / kRowWarps;
  static constexpr int kWarpColumns = kTileColumns / kColumnWarps;
  static constexpr int kRowFragments = kWarpRows / 16;
  static constexpr int kColumnFragments = kWarpColumns / 8;
  static constexpr int kColumnWarpsOf = kColumnWarps;
  static constexpr int kStageBytes = (kTileRows + kTileColumns) * kRowBytes;
  static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0);
};

// `rows` rows of a K-contiguous matrix from `first` on, columns k to k + kDepth - 1, on their way
// to `tile`. What lies outside the matrix becomes zeros.
template <int kRows, int kThreads>
__device__ void LoadTile(uint8_t* tile, const __nv_bfloat16* matrix, int64_t first, int64_t rows,
                         int64_t k, int64_t depth) {
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const int64_t column = k + chunk * kVectorElements;
    const bool inside = first + row < rows && column < depth;
    ptx::CopyAsync16(tile + ChunkOffset(row, chunk),
                     inside ? matrix + (first + row) * depth + column : matrix, inside);
  }
}

template <typename S>
__device__ void MultiplyStage(const uint8_t* x_tile, const uint8_t* w_tile, int warp_row,
                              int warp_column,
                              float (&sum)[S::kRowFragments][S::kColumnFragments][4]) {
  const int matrix = ptx::Lane() / 8;
  const int line = ptx::Lane() % 8;
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    uint32_t x[S::kRowFragments][4];
#pragma unroll
    for (int i = 0; i < S::kRowFragments; ++i) {
      const int row = warp_row + i * 16 + line + matrix % 2 * 8;
      ptx::LoadMatrices(x[i], x_tile + ChunkOffset(row, 2 * step + matrix / 2));
    }
#pragma unroll
    for (int j = 0; j < S::kColumnFragments; j += 2) {
      uint32_t w[4];
      const int column = warp_column + j * 8 + line + matrix / 2 * 8;
      ptx::LoadMatrices(w, w_tile + ChunkOffset(column, 2 * step + matrix % 2));
#pragma unroll
      for (int i = 0; i < S::kRowFragments; ++i) {
        ptx::MmaBf16(sum[i][j], x[i], w[0], w[1]);
        ptx::MmaBf16(sum[i][j + 1], x[i], w[2], w[3]);
      }
    }
  }
}

template <typename S>
__global__ void __launch_bounds__(S::kThreads) LinearSm80Kernel(LinearArgs args, bool paired) {
  const int64_t row_tiles = (args.batch.capacity + S::kRows - 1) / S::kRows;
  const int64_t column_tiles = (args.out_features + S::kColumns - 1) / S::kColumns;
  const TilePlace place = PlaceOfTile(blockIdx.x, row_tiles, column_tiles);
  const int64_t first_row = place.row_tile * S::kRows;
  const int64_t first_column = place.column_tile * S::kColumns;
  const int64_t live = *args.batch.live_rows;
  if (first_row >= live) return;
  uint8_t* shared = ptx::SharedMemory();
  const int steps = static_cast<int>((args.in_features + kDepth - 1) / kDepth);
  const auto load = [&](int step) {
    if (step < steps) {
      uint8_t* stage = shared + step % kStages * S::kStageBytes;
      const int64_t k = int64_t{step} * kDepth;
      LoadTile<S::kRows, S::kThreads>(stage, static_cast<const __nv_bfloat16*>(args.x), first_row,
                                      live, k, args.in_features);
      LoadTile<S::kColumns, S::kThreads>(stage + S::kRows * kRowBytes,
                                         static_cast<const __nv_bfloat16*>(args.weight),
                                         first_column, args.out_features, k, args.in_features);
    }
    ptx::CommitCopies();  // an empty group where nothing is left, so that counts stay right
  };
  for (int step = 0; step < kStages - 1; ++step) load(step);

  const int warp_row = ptx::Warp() / S::kColumnWarpsOf * S::kWarpRows;
  const int warp_column = ptx::Warp() % S::kColumnWarpsOf * S::kWarpColumns;
  float sum[S::kRowFragments][S::kColumnFragments][4] = {};
  for (int step = 0; step < steps; ++step) {
    ptx::WaitCopies<kStages - 2>();
    ptx::SyncBlock();  // this stage has come for all; all are done with the one before
    load(step + kStages - 1);
    const uint8_t* stage = shared + step % kStages * S::kStageBytes;
    MultiplyStage<S>(stage, stage + S::kRows * kRowBytes, warp_row, warp_column, sum);
  }

#pragma unroll
  for (int i = 0; i < S::kRowFragments; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first_row + warp_row + i * 16 + half * 8 + ptx::Lane() / 4;
      if (row >= live) continue;
#pragma unroll
      for (int j = 0; j < S::kColumnFragments; ++j) {
        const int64_t column = first_column + warp_column + j * 8 + ptx::Lane() % 4 * 2;
        StoreLinearPair(args, row, column, sum[i][j][2 * half], sum[i][j][2 * half + 1], paired);
      }
    }
  }
}

template <typename S>
Result LaunchShapeOf(const LinearArgs& args, cudaStream_t stream) {
  const int64_t tiles = ((args.batch.capacity + S::kRows - 1) / S::kRows) *
                        ((args.out_features + S::kColumns - 1) / S::kColumns);
  return ptx::Launch(LinearSm80Kernel<S>,
                     {dim3(static_cast<uint32_t>(tiles)), S::kThreads, kStages * S::kStageBytes},
                     stream, args, HasPairedRows(args));
}

}  // namespace

Result LinearSm80(const LinearArgs& args, const LinearConfig& config, cudaStream_t stream) {
  if (config.tile_rows == 128) return LaunchShapeOf<Shape<128, 128, 2, 4>>(args, stream);
  if (config.tile_columns == 128) return LaunchShapeOf<Shape<64, 128, 2, 4>>(args, stream);
  return LaunchShapeOf<Shape<64, 64, 2, 2>>(args, stream);
}

}  // namespace darkroom::kernels
