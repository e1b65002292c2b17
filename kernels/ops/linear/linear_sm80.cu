// Linear on the tensor cores by mma.sync, for sm_80 and later: a block computes a tile of `out`
// (kernels/common/mma_tile.h).
#include "kernels/common/adapter_sum.h"
#include "kernels/common/mma_tile.h"
#include "kernels/ops/linear/linear_epilogue.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

template <typename T>
__global__ void __launch_bounds__(T::kThreads) LinearSm80Kernel(LinearArgs args, bool paired) {
  const int64_t row_tiles = (args.batch.capacity + T::kRows - 1) / T::kRows;
  const int64_t column_tiles = (args.out_features + T::kColumns - 1) / T::kColumns;
  const TilePlace place = PlaceOfTile(blockIdx.x, row_tiles, column_tiles);
  const int64_t first_row = place.row_tile * T::kRows;
  const int64_t first_column = place.column_tile * T::kColumns;
  const int64_t live = *args.batch.live_rows;
  if (first_row >= live) return;
  const auto* x = static_cast<const __nv_bfloat16*>(args.x);
  const auto* weight = static_cast<const __nv_bfloat16*>(args.weight);
  // Of rows `first` on of a matrix with `rows` of them.
  const auto source = [&](const __nv_bfloat16* matrix, int64_t first, int64_t rows, int64_t k) {
    return [=, depth = args.in_features](int, int row, int chunk) {
      const int64_t column = k + chunk * kVectorElements;
      const bool inside = first + row < rows && column < depth;
      return inside ? matrix + (first + row) * depth + column : nullptr;
    };
  };

  typename T::Sums sum = {};
  MultiplyMmaTile<T>(
      args.in_features,
      [&](uint8_t* x_stage, uint8_t* w_stage, int64_t k) {
        LoadMmaTile<T::kRows, T::kThreads>(x_stage, x, source(x, first_row, live, k));
        LoadMmaTile<T::kColumns, T::kThreads>(w_stage, weight,
                                              source(weight, first_column, args.out_features, k));
      },
      sum);
  if (args.adapters.ranges != nullptr) {
#pragma unroll
    for (int i = 0; i < T::kRowFragments; ++i) {
      AddAdapters<T::kColumnFragments>(
          args.adapters, args.batch.capacity, args.out_features, first_row + T::WarpRow() + i * 16,
          first_column + T::WarpColumn(), [&](int j) -> float(&)[4] { return sum[i][j]; });
    }
  }
  StoreMmaTile<T>(
      sum, [&](int row) { return first_row + row < live; },
      [&](int row, int column, float first, float second) {
        StoreLinearPair(args, first_row + row, first_column + column, first, second, paired);
      });
}

template <typename T>
Result LaunchTile(const LinearArgs& args, cudaStream_t stream) {
  const int64_t tiles = ((args.batch.capacity + T::kRows - 1) / T::kRows) *
                        ((args.out_features + T::kColumns - 1) / T::kColumns);
  return ptx::Launch(LinearSm80Kernel<T>,
                     {dim3(static_cast<uint32_t>(tiles)), T::kThreads, T::kSharedBytes}, stream,
                     args, HasPairedRows(args));
}

}  // namespace

Result LinearSm80(const LinearArgs& args, const LinearConfig& config, cudaStream_t stream) {
  if (config.tile_rows == 128) return LaunchTile<MmaTile<128, 128, 2, 4>>(args, stream);
  if (config.tile_columns == 128) return LaunchTile<MmaTile<64, 128, 2, 4>>(args, stream);
  return LaunchTile<MmaTile<64, 64, 2, 2>>(args, stream);
}

}  // namespace darkroom::kernels
