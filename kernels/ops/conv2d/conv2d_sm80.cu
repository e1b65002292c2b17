// Conv2d on the tensor cores by mma.sync, as a product whose rows are gathered on their way into
// shared memory (kernels/common/mma_tile.h): eight neighbouring channels of one tap are one copy,
// and zeros where the tap lies outside.
#include "kernels/common/mma_tile.h"
#include "kernels/ops/conv2d/conv2d_patches.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

using Tile = MmaTile<128, 128, 2, 4>;

__global__ void __launch_bounds__(Tile::kThreads) Conv2dSm80Kernel(Conv2dArgs args) {
  const int64_t pixels = int64_t{args.out_height} * args.out_width;
  const int64_t first_pixel = int64_t{blockIdx.x} * Tile::kRows;
  const int64_t first_channel = int64_t{blockIdx.y} * Tile::kColumns;
  const int64_t depth = int64_t{args.kernel} * args.kernel * args.in_channels;
  const auto* x = static_cast<const __nv_bfloat16*>(args.x);
  const auto* weight = static_cast<const __nv_bfloat16*>(args.weight);
  constexpr int kPerThread = Tile::kRows * kMmaChunks / Tile::kThreads;
  PatchCorner corner[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int row = (i * Tile::kThreads + static_cast<int>(threadIdx.x)) / kMmaChunks;
    corner[i] = CornerOf(args, first_pixel + row);
  }

  Tile::Sums sum = {};
  MultiplyMmaTile<Tile>(
      depth,
      [&](uint8_t* x_stage, uint8_t* w_stage, int64_t k) {
        // All of a thread's chunks have one place within the row, so one tap serves them.
        const int chunk_of_thread = static_cast<int>(threadIdx.x) % kMmaChunks;
        const TapChannel tap = TapOf(args, k + chunk_of_thread * kVectorElements);
        LoadMmaTile<Tile::kRows, Tile::kThreads>(
            x_stage, x, [&](int i, int row, int) -> const __nv_bfloat16* {
              const int64_t index = SeenBy(args, corner[i], tap);
              return index >= 0 && first_pixel + row < pixels ? x + index : nullptr;
            });
        LoadMmaTile<Tile::kColumns, Tile::kThreads>(
            w_stage, weight, [&](int, int row, int chunk) -> const __nv_bfloat16* {
              const int64_t at = k + chunk * kVectorElements;
              const bool inside = first_channel + row < args.out_channels && at < depth;
              return inside ? weight + (first_channel + row) * depth + at : nullptr;
            });
      },
      sum);
  StoreMmaTile<Tile>(
      sum, [&](int row) { return first_pixel + row < pixels; },
      [&](int row, int column, float first, float second) {
        const int64_t channel = first_channel + column;
        if (channel < args.out_channels) StoreConv(args, first_pixel + row, channel, first);
        if (channel + 1 < args.out_channels) {
          StoreConv(args, first_pixel + row, channel + 1, second);
        }
      });
}

}  // namespace

Result Conv2dSm80(const Conv2dArgs& args, cudaStream_t stream) {
  const int64_t pixels = int64_t{args.out_height} * args.out_width;
  const dim3 blocks(
      static_cast<uint32_t>((pixels + Tile::kRows - 1) / Tile::kRows),
      static_cast<uint32_t>((args.out_channels + Tile::kColumns - 1) / Tile::kColumns));
  return ptx::Launch(Conv2dSm80Kernel, {blocks, Tile::kThreads, Tile::kSharedBytes}, stream, args);
}

}  // namespace darkroom::kernels
