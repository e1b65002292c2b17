// The adapters' first product on the ordinary units, for what the tensor cores cannot take
// (kernels/common/simt_tile.h).
#include "kernels/common/adapter_sum.h"
#include "kernels/common/simt_tile.h"
#include "kernels/ops/adapter_down/adapter_down.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

template <typename X, typename W>
__global__ void __launch_bounds__(kSimtThreads) AdapterDownSimtKernel(AdapterDownArgs args) {
  const Adapters& adapters = args.adapters;
  const int64_t first_row = int64_t{blockIdx.x} * kSimtTile;
  const int64_t first_rank = int64_t{blockIdx.y} * kSimtTile;
  const int64_t live = *args.batch.live_rows;
  const int64_t depth = args.in_features;
  if (first_row >= live) return;
  const auto* x = static_cast<const X*>(args.x);
  auto* hidden = static_cast<W*>(adapters.hidden);
  ForEachAdapter(
      adapters, first_row, kSimtTile, [&](const AdapterRange& range, const LowRank& matrix) {
        if (first_rank >= matrix.rank) return;
        const int64_t end = range.row_end < live ? range.row_end : live;
        const auto has_row = [&](int64_t row) { return row >= range.row_begin && row < end; };
        const auto* down = static_cast<const W*>(matrix.down);
        MultiplySimtTile(
            depth,
            [&](int i, int64_t k) {
              const int64_t row = first_row + SimtLine(i);
              return has_row(row) && k < depth ? ToFloat(x[row * depth + k]) : 0.0f;
            },
            [&](int i, int64_t k) {
              const int64_t rank = first_rank + SimtLine(i);
              return rank < matrix.rank && k < depth ? ToFloat(down[rank * depth + k]) : 0.0f;
            },
            [&](int row, int column, float sum) {
              const auto rank = static_cast<int32_t>(first_rank + column);
              if (!has_row(first_row + row) || rank >= matrix.rank) return;
              hidden[HiddenIndex(adapters, args.batch.capacity, range.level, first_row + row,
                                 rank)] = FromFloat<W>(range.weight * sum);
            });
      });
}

}  // namespace

Result AdapterDownSimt(const AdapterDownArgs& args, cudaStream_t stream) {
  const int64_t row_tiles = (args.batch.capacity + kSimtTile - 1) / kSimtTile;
  const int64_t rank_tiles = (args.adapters.rank_max + kSimtTile - 1) / kSimtTile;
  const ptx::LaunchShape shape{
      dim3(static_cast<uint32_t>(row_tiles), static_cast<uint32_t>(rank_tiles)), kSimtThreads,
      kSimtSharedBytes};
  return DispatchRowDType(args.x_dtype, [&]<typename X>(X) {
    return DispatchRowDType(args.adapters.dtype, [&]<typename W>(W) {
      return ptx::Launch(AdapterDownSimtKernel<X, W>, shape, stream, args);
    });
  });
}

}  // namespace darkroom::kernels
