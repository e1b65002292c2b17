#include "kernels/ops/group_norm/group_norm.h"

#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidateGroupNorm(const GroupNormArgs& args) {
  Result result =
      FirstError(CheckRange("pixels", args.pixels, 1, kRowsMax),
                 CheckRange("channels", args.channels, 1, kFeaturesMax),
                 CheckRange("groups", args.groups, 1, args.channels), CheckPresent("x", args.x),
                 CheckPresent("gamma", args.gamma), CheckPresent("beta", args.beta),
                 CheckPresent("out", args.out), CheckPresent("scratch", args.scratch));
  if (!result.ok()) return result;
  if (args.channels % args.groups != 0) return Result::Invalid("groups must divide the channels");
  if (!IsRowDType(args.x_dtype) || !IsRowDType(args.out_dtype)) {
    return Result::Invalid("x and out must be f32 or bf16");
  }
  if (args.x == args.out && args.x_dtype != args.out_dtype) {
    return Result::Invalid("out is x, so both must have one dtype");
  }
  if (!(args.epsilon >= 0.0f)) return Result::Invalid("epsilon must not be negative");
  return {};
}

size_t GroupNormScratchBytes(const GroupNormArgs& args) {
  const int64_t runs = (args.pixels + kGroupNormRunPixels - 1) / kGroupNormRunPixels;
  return static_cast<size_t>((2 * runs + 2) * args.channels) * sizeof(float);
}

}  // namespace darkroom::kernels
