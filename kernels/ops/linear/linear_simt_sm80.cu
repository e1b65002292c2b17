// Linear on the ordinary units, for what the tensor cores cannot take: f32 products, and row
// lengths or addresses that are no multiple of 16 bytes (kernels/common/simt_tile.h).
#include "kernels/common/adapter_sum.h"
#include "kernels/common/simt_tile.h"
#include "kernels/ops/linear/linear_epilogue.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

template <typename X, typename W>
__global__ void __launch_bounds__(kSimtThreads) LinearSimtKernel(LinearArgs args) {
  const int64_t row_tiles = (args.batch.capacity + kSimtTile - 1) / kSimtTile;
  const int64_t column_tiles = (args.out_features + kSimtTile - 1) / kSimtTile;
  const TilePlace place = PlaceOfTile(blockIdx.x, row_tiles, column_tiles);
  const int64_t first_row = place.row_tile * kSimtTile;
  const int64_t first_column = place.column_tile * kSimtTile;
  const int64_t live = *args.batch.live_rows;
  if (first_row >= live) return;
  const auto* x = static_cast<const X*>(args.x);
  const auto* weight = static_cast<const W*>(args.weight);
  const int64_t depth = args.in_features;
  MultiplySimtTile(
      depth,
      [&](int i, int64_t k) {
        const int64_t row = first_row + SimtLine(i);
        return row < live && k < depth ? ToFloat(x[row * depth + k]) : 0.0f;
      },
      [&](int i, int64_t k) {
        const int64_t column = first_column + SimtLine(i);
        return column < args.out_features && k < depth ? ToFloat(weight[column * depth + k]) : 0.0f;
      },
      [&](int row, int column, float sum) {
        if (first_row + row >= live || first_column + column >= args.out_features) return;
        if (args.adapters.ranges != nullptr) {
          sum = AddAdapters(args.adapters, args.batch.capacity, first_row + row,
                            first_column + column, sum);
        }
        StoreLinear(args, first_row + row, first_column + column, sum);
      });
}

}  // namespace

Result LinearSimt(const LinearArgs& args, cudaStream_t stream) {
  const int64_t tiles = ((args.batch.capacity + kSimtTile - 1) / kSimtTile) *
                        ((args.out_features + kSimtTile - 1) / kSimtTile);
  const ptx::LaunchShape shape{dim3(static_cast<uint32_t>(tiles)), kSimtThreads, kSimtSharedBytes};
  return DispatchRowDType(args.x_dtype, [&]<typename X>(X) {
    return DispatchRowDType(args.weight_dtype, [&]<typename W>(W) {
      return ptx::Launch(LinearSimtKernel<X, W>, shape, stream, args);
    });
  });
}

}  // namespace darkroom::kernels
