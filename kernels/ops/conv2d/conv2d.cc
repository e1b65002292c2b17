#include "kernels/ops/conv2d/conv2d.h"

#include <string>

#include "kernels/common/alignment.h"
#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidateConv2d(const Conv2dArgs& args) {
  const int64_t depth = int64_t{args.kernel} * args.kernel * args.in_channels;
  Result result = FirstError(
      CheckRange("height", args.height, 1, kRowsMax), CheckRange("width", args.width, 1, kRowsMax),
      CheckRange("height x width", int64_t{args.height} * args.width, 1, kRowsMax),
      CheckRange("in_channels", args.in_channels, 1, kFeaturesMax),
      CheckRange("out_channels", args.out_channels, 1, kFeaturesMax),
      CheckRange("kernel", args.kernel, 1, kConvKernelMax),
      CheckRange("in_channels x kernel x kernel", depth, 1, kFeaturesMax),
      CheckRange("stride", args.stride, 1, kConvStrideMax),
      CheckRange("pad_top", args.pad_top, 0, kConvKernelMax),
      CheckRange("pad_left", args.pad_left, 0, kConvKernelMax),
      CheckRange("out_height", args.out_height, 1, args.height + 2 * kConvKernelMax),
      CheckRange("out_width", args.out_width, 1, args.width + 2 * kConvKernelMax),
      CheckRange("out_height x out_width", int64_t{args.out_height} * args.out_width, 1, kRowsMax),
      CheckPresent("x", args.x), CheckPresent("weight", args.weight),
      CheckPresent("out", args.out));
  if (!result.ok()) return result;
  for (const DType dtype : {args.x_dtype, args.weight_dtype, args.residual_dtype, args.out_dtype}) {
    if (!IsRowDType(dtype)) return Result::Invalid("x, weight, residual and out: f32 or bf16");
  }
  if (args.x == args.out) return Result::Invalid("out must not be x");
  if (args.residual == args.out && args.residual_dtype != args.out_dtype) {
    return Result::Invalid("residual is out, so both must have one dtype");
  }
  return {};
}

Conv2dKernel ChooseConv2dKernel(const Conv2dArgs& args) {
  const bool fits = args.x_dtype == DType::kBf16 && args.weight_dtype == DType::kBf16 &&
                    args.in_channels % kVectorElements == 0 && IsAligned16(args.x) &&
                    IsAligned16(args.weight);
  return fits ? Conv2dKernel::kSm80 : Conv2dKernel::kSimt;
}

Result Conv2d(const Conv2dArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateConv2d(args); !valid.ok()) return valid;
  return ChooseConv2dKernel(args) == Conv2dKernel::kSm80 ? Conv2dSm80(args, stream)
                                                         : Conv2dSimt(args, stream);
}

}  // namespace darkroom::kernels
