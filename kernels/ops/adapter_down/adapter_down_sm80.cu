// The adapters' first product on the tensor cores by mma.sync. It reads x once and has few columns,
// so it is bound by memory and by how much of it is under way: two groups of warps share K, so that
// each block has twice as many copies running; their sums are added in one order.
#include "kernels/common/adapter_sum.h"
#include "kernels/common/mma_tile.h"
#include "kernels/ops/adapter_down/adapter_down.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

using Tile = MmaTile<64, 64, 2, 2, 2>;

// A group's sums, on their way to the other.
__device__ float* Passed(int i) {
  auto* shared = reinterpret_cast<float*>(ptx::SharedMemory());
  return shared + i * Tile::kGroupThreads + static_cast<int>(threadIdx.x) % Tile::kGroupThreads;
}

// Sums of both groups in the first.
__device__ void AddGroups(Tile::Sums& sum) {
  constexpr int kCount = static_cast<int>(sizeof(Tile::Sums) / sizeof(float));
  auto* flat = &sum[0][0][0];
  ptx::SyncBlock();  // the stages, in whose place they are passed, have been read
  if (Tile::Group() == 1) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) *Passed(i) = flat[i];
  }
  ptx::SyncBlock();
  if (Tile::Group() == 0) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) flat[i] += *Passed(i);
  }
  ptx::SyncBlock();  // the next range's stages come in this place
}

__global__ void __launch_bounds__(Tile::kThreads) AdapterDownSm80Kernel(AdapterDownArgs args) {
  const Adapters& adapters = args.adapters;
  const int64_t first_row = int64_t{blockIdx.x} * Tile::kRows;
  const int64_t first_rank = int64_t{blockIdx.y} * Tile::kColumns;
  const int64_t live = *args.batch.live_rows;
  if (first_row >= live) return;
  const auto* x = static_cast<const __nv_bfloat16*>(args.x);
  auto* hidden = static_cast<__nv_bfloat16*>(adapters.hidden);
  ForEachAdapter(
      adapters, first_row, Tile::kRows, [&](const AdapterRange& range, const LowRank& matrix) {
        if (first_rank >= matrix.rank) return;
        const int64_t end = range.row_end < live ? range.row_end : live;
        const auto* down = static_cast<const __nv_bfloat16*>(matrix.down);
        // Of rows `begin` to `end` of a matrix, the tile's first being `first`.
        const auto source = [&](const __nv_bfloat16* from, int64_t first, int64_t begin,
                                int64_t end_of, int64_t k) {
          return [=, depth = args.in_features](int, int row, int chunk) {
            const int64_t column = k + chunk * kVectorElements;
            const bool inside = first + row >= begin && first + row < end_of && column < depth;
            return inside ? from + (first + row) * depth + column : nullptr;
          };
        };
        Tile::Sums sum = {};
        MultiplyMmaTile<Tile>(
            args.in_features,
            [&](uint8_t* x_stage, uint8_t* down_stage, int64_t k) {
              LoadMmaTile<Tile::kRows, Tile::kGroupThreads>(
                  x_stage, x, source(x, first_row, range.row_begin, end, k));
              LoadMmaTile<Tile::kColumns, Tile::kGroupThreads>(
                  down_stage, down, source(down, first_rank, 0, matrix.rank, k));
            },
            sum);
        AddGroups(sum);
        if (Tile::Group() != 0) return;
        StoreMmaTile<Tile>(
            sum,
            [&](int row) { return first_row + row >= range.row_begin && first_row + row < end; },
            [&](int row, int column, float first, float second) {
              const auto rank = static_cast<int32_t>(first_rank + column);
              if (rank >= matrix.rank) return;
              *reinterpret_cast<uint32_t*>(hidden + HiddenIndex(adapters, args.batch.capacity,
                                                                range.level, first_row + row,
                                                                rank)) =
                  ptx::PackBf16(range.weight * first, range.weight * second);
            });
      });
}

}  // namespace

Result AdapterDownSm80(const AdapterDownArgs& args, cudaStream_t stream) {
  const int64_t row_tiles = (args.batch.capacity + Tile::kRows - 1) / Tile::kRows;
  const int64_t rank_tiles = (args.adapters.rank_max + Tile::kColumns - 1) / Tile::kColumns;
  const ptx::LaunchShape shape{
      dim3(static_cast<uint32_t>(row_tiles), static_cast<uint32_t>(rank_tiles)), Tile::kThreads,
      Tile::kSharedBytes};
  return ptx::Launch(AdapterDownSm80Kernel, shape, stream, args);
}

}  // namespace darkroom::kernels
