// Bound by memory. Upsample2x moves 16 bytes at a time where pixels are a multiple of that.
#include <cmath>

#include "kernels/common/alignment.h"
#include "kernels/common/limits.h"
#include "kernels/common/striding.h"
#include "kernels/common/validate.h"
#include "kernels/ops/picture/picture.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

// `words`: of one pixel.
template <typename Word>
__global__ void __launch_bounds__(kStridingThreads)
    Upsample2xKernel(const Word* x, Word* out, int64_t height, int64_t width, int64_t words) {
  ForEachIndex(4 * height * width * words, [&](int64_t i) {
    const int64_t pixel = i / words;
    const int64_t row = pixel / (2 * width) / 2;
    const int64_t column = pixel % (2 * width) / 2;
    out[i] = x[(row * width + column) * words + i % words];
  });
}

__global__ void __launch_bounds__(kStridingThreads)
    ToPixelsKernel(const void* x, DType dtype, int64_t elements, uint8_t* out) {
  ForEachIndex(elements, [&](int64_t i) {
    const float value = LoadElement(x, dtype, i) / 2.0f + 0.5f;
    const float clamped = value > 0.0f ? fminf(value, 1.0f) : 0.0f;
    out[i] = static_cast<uint8_t>(rintf(clamped * 255.0f));
  });
}

template <typename Word>
Result LaunchUpsample(const PictureShape& shape, const void* x, void* out, int64_t pixel_bytes,
                      cudaStream_t stream) {
  const int64_t words = pixel_bytes / static_cast<int64_t>(sizeof(Word));
  return ptx::Launch(
      Upsample2xKernel<Word>,
      {StridingBlocks(int64_t{4} * shape.height * shape.width * words), kStridingThreads}, stream,
      static_cast<const Word*>(x), static_cast<Word*>(out), int64_t{shape.height},
      int64_t{shape.width}, words);
}

}  // namespace

Result Upsample2x(const PictureShape& shape, const void* x, void* out, DType dtype,
                  cudaStream_t stream) {
  Result result =
      FirstError(CheckRange("height", shape.height, 1, kRowsMax),
                 CheckRange("width", shape.width, 1, kRowsMax),
                 CheckRange("height x width", int64_t{shape.height} * shape.width, 1, kRowsMax),
                 CheckRange("channels", shape.channels, 1, kFeaturesMax), CheckPresent("x", x),
                 CheckPresent("out", out));
  if (!result.ok()) return result;
  if (!IsRowDType(dtype)) return Result::Invalid("x and out must be f32 or bf16");
  if (x == out) return Result::Invalid("out must not be x");
  const int64_t pixel_bytes = int64_t{shape.channels} * (dtype == DType::kBf16 ? 2 : 4);
  if (pixel_bytes % static_cast<int64_t>(sizeof(Bytes16)) == 0 && IsAligned16(x) &&
      IsAligned16(out)) {
    return LaunchUpsample<Bytes16>(shape, x, out, pixel_bytes, stream);
  }
  return dtype == DType::kBf16 ? LaunchUpsample<uint16_t>(shape, x, out, pixel_bytes, stream)
                               : LaunchUpsample<uint32_t>(shape, x, out, pixel_bytes, stream);
}

Result ToPixels(const void* x, DType dtype, int64_t elements, uint8_t* out, cudaStream_t stream) {
  Result result = FirstError(CheckRange("elements", elements, 1, kRowsMax * kFeaturesMax),
                             CheckPresent("x", x), CheckPresent("out", out));
  if (!result.ok()) return result;
  if (!IsRowDType(dtype)) return Result::Invalid("x must be f32 or bf16");
  return ptx::Launch(ToPixelsKernel, {StridingBlocks(elements), kStridingThreads}, stream, x, dtype,
                     elements, out);
}

}  // namespace darkroom::kernels
