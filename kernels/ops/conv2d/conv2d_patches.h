#pragma once

#include <cstdint>

#include "kernels/ops/conv2d/conv2d.h"

namespace darkroom::kernels {

// The pixel of x that the first tap of an output pixel sees; it may lie outside.
struct PatchCorner {
  int32_t y;
  int32_t x;
};
__device__ inline PatchCorner CornerOf(const Conv2dArgs& args, int64_t out_pixel) {
  return {static_cast<int32_t>(out_pixel / args.out_width) * args.stride - args.pad_top,
          static_cast<int32_t>(out_pixel % args.out_width) * args.stride - args.pad_left};
}

// Depth index k as a tap and a channel.
struct TapChannel {
  int32_t y;
  int32_t x;
  int32_t channel;
};
__device__ inline TapChannel TapOf(const Conv2dArgs& args, int64_t k) {
  const auto depth = static_cast<uint32_t>(k);
  const uint32_t tap = depth / static_cast<uint32_t>(args.in_channels);
  const auto kernel = static_cast<uint32_t>(args.kernel);
  return {static_cast<int32_t>(tap / kernel), static_cast<int32_t>(tap % kernel),
          static_cast<int32_t>(depth - tap * static_cast<uint32_t>(args.in_channels))};
}

// Index of the element of x that `tap` of a patch sees, or -1 outside of the picture.
__device__ inline int64_t SeenBy(const Conv2dArgs& args, const PatchCorner& corner,
                                 const TapChannel& tap) {
  const int32_t y = corner.y + tap.y;
  const int32_t x = corner.x + tap.x;
  if (tap.y >= args.kernel || y < 0 || y >= args.height || x < 0 || x >= args.width) return -1;
  return (int64_t{y} * args.width + x) * args.in_channels + tap.channel;
}

__device__ inline void StoreConv(const Conv2dArgs& args, int64_t pixel, int64_t channel,
                                 float sum) {
  const int64_t index = pixel * args.out_channels + channel;
  if (args.bias != nullptr) sum += args.bias[channel];
  if (args.residual != nullptr) sum += LoadElement(args.residual, args.residual_dtype, index);
  StoreElement(args.out, args.out_dtype, index, sum);
}

}  // namespace darkroom::kernels
