#include "kernels/ops/row_norm/row_norm.h"

#include "kernels/common/alignment.h"
#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {
namespace {

constexpr uint32_t kThreads = 128;

}  // namespace

Result ValidateRowNorm(const RowNormArgs& args) {
  const bool modulated = args.scale != nullptr || args.shift != nullptr;
  Result result = FirstError(CheckRange("capacity", args.batch.capacity, 1, kRowsMax),
                             CheckRange("dim", args.dim, 1, kFeaturesMax),
                             CheckPresent("live_rows", args.batch.live_rows),
                             CheckPresent("x", args.x), CheckPresent("out", args.out));
  if (!result.ok()) return result;
  if (!IsRowDType(args.x_dtype) || !IsRowDType(args.out_dtype)) {
    return Result::Invalid("x and out must be f32 or bf16");
  }
  result = FirstError(CheckElements("x", args.x, args.x_dtype),
                      CheckElements("weight", args.weight, DType::kF32),
                      CheckElements("bias", args.bias, DType::kF32),
                      CheckElements("scale", args.scale, DType::kF32),
                      CheckElements("shift", args.shift, DType::kF32),
                      CheckElements("out", args.out, args.out_dtype));
  if (!result.ok()) return result;
  if (args.x == args.out && args.x_dtype != args.out_dtype) {
    return Result::Invalid("out is x, so both must have one dtype");
  }
  if (!(args.epsilon >= 0.0f)) return Result::Invalid("epsilon must not be negative");
  if (!modulated) return {};
  return FirstError(CheckPresent("row_to_sequence", args.batch.row_to_sequence),
                    CheckRange("modulation_stride", args.modulation_stride, args.dim, INT64_MAX));
}

RowNormConfig ChooseRowNormConfig(const RowNormArgs& args) {
  RowNormConfig config{.threads = kThreads, .vectors = 0};
  const bool aligned = args.dim % kVectorElements == 0 && args.modulation_stride % 4 == 0 &&
                       IsAligned16(args.x) && IsAligned16(args.out) && IsAligned16(args.weight) &&
                       IsAligned16(args.bias) && IsAligned16(args.scale) && IsAligned16(args.shift);
  if (!aligned) return config;
  for (const int vectors : {1, 2, 3, 4, 8}) {
    if (args.dim <= int64_t{kThreads} * vectors * kVectorElements) {
      config.vectors = vectors;
      break;
    }
  }
  return config;
}

}  // namespace darkroom::kernels
