// Linear on the ordinary units, for what the tensor cores cannot take: f32 products, and row
// lengths or addresses that are no multiple of 16 bytes. A block computes 64x64 sums, a thread 4x4
// of them, from tiles of 16 columns in shared memory. K is summed in ascending order, one fused
// multiply-add at a time.
#include <cmath>

#include "kernels/ops/linear/linear_epilogue.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kPerThread = 4;
constexpr int kSide = kTile / kPerThread;
constexpr int kThreads = kSide * kSide;
constexpr int kRow = kTile + 4;  // floats between depths in shared memory: other banks

template <typename X, typename W>
__global__ void __launch_bounds__(kThreads) LinearSimtKernel(LinearArgs args) {
  auto* x_tile = reinterpret_cast<float*>(ptx::SharedMemory());  // [kDepth][kRow]
  float* w_tile = x_tile + kDepth * kRow;
  const int64_t row_tiles = (args.batch.capacity + kTile - 1) / kTile;
  const int64_t column_tiles = (args.out_features + kTile - 1) / kTile;
  const TilePlace place = PlaceOfTile(blockIdx.x, row_tiles, column_tiles);
  const int64_t first_row = place.row_tile * kTile;
  const int64_t first_column = place.column_tile * kTile;
  const int64_t live = *args.batch.live_rows;
  if (first_row >= live) return;
  const X* x = static_cast<const X*>(args.x);
  const W* w = static_cast<const W*>(args.weight);
  const int thread = static_cast<int>(threadIdx.x);

  float sum[kPerThread][kPerThread] = {};
  for (int64_t k = 0; k < args.in_features; k += kDepth) {
    for (int i = thread; i < kTile * kDepth; i += kThreads) {
      const int depth = i % kDepth;
      const int line = i / kDepth;
      const bool inside = k + depth < args.in_features;
      const int64_t row = first_row + line;
      const int64_t column = first_column + line;
      x_tile[depth * kRow + line] =
          inside && row < live ? ToFloat(x[row * args.in_features + k + depth]) : 0.0f;
      w_tile[depth * kRow + line] = inside && column < args.out_features
                                        ? ToFloat(w[column * args.in_features + k + depth])
                                        : 0.0f;
    }
    ptx::SyncBlock();
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) {
        const float left = x_tile[depth * kRow + thread / kSide * kPerThread + i];
#pragma unroll
        for (int j = 0; j < kPerThread; ++j) {
          sum[i][j] = fmaf(left, w_tile[depth * kRow + thread % kSide * kPerThread + j], sum[i][j]);
        }
      }
    }
    ptx::SyncBlock();
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t row = first_row + thread / kSide * kPerThread + i;
    if (row >= live) break;
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      const int64_t column = first_column + thread % kSide * kPerThread + j;
      if (column < args.out_features) StoreLinear(args, row, column, sum[i][j]);
    }
  }
}

}  // namespace

Result LinearSimt(const LinearArgs& args, cudaStream_t stream) {
  const int64_t tiles =
      ((args.batch.capacity + kTile - 1) / kTile) * ((args.out_features + kTile - 1) / kTile);
  const ptx::LaunchShape shape{dim3(static_cast<uint32_t>(tiles)), kThreads,
                               2 * kDepth * kRow * sizeof(float)};
  return DispatchRowDType(args.x_dtype, [&]<typename X>(X) {
    return DispatchRowDType(args.weight_dtype, [&]<typename W>(W) {
      return ptx::Launch(LinearSimtKernel<X, W>, shape, stream, args);
    });
  });
}

}  // namespace darkroom::kernels
