// Conv2d on the ordinary units: f32 products, and numbers of channels that are no multiple of 8.
#include "kernels/common/simt_tile.h"
#include "kernels/ops/conv2d/conv2d_patches.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

template <typename X, typename W>
__global__ void __launch_bounds__(kSimtThreads) Conv2dSimtKernel(Conv2dArgs args) {
  const int64_t pixels = int64_t{args.out_height} * args.out_width;
  const int64_t first_pixel = int64_t{blockIdx.x} * kSimtTile;
  const int64_t first_channel = int64_t{blockIdx.y} * kSimtTile;
  const int64_t depth = int64_t{args.kernel} * args.kernel * args.in_channels;
  const auto* x = static_cast<const X*>(args.x);
  const auto* weight = static_cast<const W*>(args.weight);
  PatchCorner corner[kSimtPerThread];
#pragma unroll
  for (int i = 0; i < kSimtPerThread; ++i) corner[i] = CornerOf(args, first_pixel + SimtLine(i));
  MultiplySimtTile(
      depth,
      [&](int i, int64_t k) {
        const int64_t index = SeenBy(args, corner[i], TapOf(args, k));
        return index >= 0 && first_pixel + SimtLine(i) < pixels ? ToFloat(x[index]) : 0.0f;
      },
      [&](int i, int64_t k) {
        const int64_t channel = first_channel + SimtLine(i);
        return channel < args.out_channels && k < depth ? ToFloat(weight[channel * depth + k])
                                                        : 0.0f;
      },
      [&](int row, int column, float sum) {
        if (first_pixel + row < pixels && first_channel + column < args.out_channels) {
          StoreConv(args, first_pixel + row, first_channel + column, sum);
        }
      });
}

}  // namespace

Result Conv2dSimt(const Conv2dArgs& args, cudaStream_t stream) {
  const int64_t pixels = int64_t{args.out_height} * args.out_width;
  const dim3 blocks(static_cast<uint32_t>((pixels + kSimtTile - 1) / kSimtTile),
                    static_cast<uint32_t>((args.out_channels + kSimtTile - 1) / kSimtTile));
  return DispatchRowDType(args.x_dtype, [&]<typename X>(X) {
    return DispatchRowDType(args.weight_dtype, [&]<typename W>(W) {
      return ptx::Launch(Conv2dSimtKernel<X, W>, {blocks, kSimtThreads, kSimtSharedBytes}, stream,
                         args);
    });
  });
}

}  // namespace darkroom::kernels
