#include "kernels/ops/attention/attention.h"

#include <cmath>

#include "kernels/common/alignment.h"
#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidateAttention(const AttentionArgs& args) {
  const int64_t width = int64_t{args.heads} * args.head_dim;
  Result result = FirstError(
      CheckRange("capacity", args.batch.capacity, 1, kRowsMax),
      CheckRange("sequences_max", args.batch.sequences_max, 1, kSequencesMax),
      CheckRange("heads", args.heads, 1, kHeadsMax),
      CheckRange("head_dim", args.head_dim, 1, kHeadDimMax),
      CheckRange("row_stride", args.row_stride, width, INT64_MAX),
      CheckRange("out_stride", args.out_stride, width, INT64_MAX),
      CheckPresent("live_sequences", args.batch.live_sequences),
      CheckPresent("boundaries", args.batch.boundaries), CheckPresent("q", args.q),
      CheckPresent("k", args.k), CheckPresent("v", args.v), CheckPresent("out", args.out));
  if (!result.ok()) return result;
  if (!IsRowDType(args.dtype) || !IsRowDType(args.out_dtype)) {
    return Result::Invalid("q, k, v and out must be f32 or bf16");
  }
  result =
      FirstError(CheckElements("q", args.q, args.dtype), CheckElements("k", args.k, args.dtype),
                 CheckElements("v", args.v, args.dtype),
                 CheckElements("position_bias", args.position_bias, DType::kF32),
                 CheckElements("out", args.out, args.out_dtype));
  if (!result.ok()) return result;
  if (args.out == args.q || args.out == args.k || args.out == args.v) {
    return Result::Invalid("out must not be q, k or v");
  }
  if (!std::isfinite(args.scale)) return Result::Invalid("scale must be finite");
  if (args.position_bias == nullptr) return {};
  return CheckRange("position_span", args.position_span, 1, kRowsMax);
}

AttentionKernel ChooseAttentionKernel(const AttentionArgs& args, const DeviceTraits& device) {
  const bool fits = args.dtype == DType::kBf16 && (args.head_dim == 64 || args.head_dim == 128) &&
                    args.row_stride % kVectorElements == 0 && IsAligned16(args.q) &&
                    IsAligned16(args.k) && IsAligned16(args.v);
  if (!fits) return AttentionKernel::kSimt;
  const bool plain = !args.causal && args.position_bias == nullptr && args.scale > 0.0f;
  return device.compute_capability == 90 && plain ? AttentionKernel::kSm90 : AttentionKernel::kSm80;
}

Result Attention(const AttentionArgs& args, const DeviceTraits& device, cudaStream_t stream) {
  if (Result valid = ValidateAttention(args); !valid.ok()) return valid;
  return AttentionWith(args, ChooseAttentionKernel(args, device), stream);
}

Result AttentionWith(const AttentionArgs& args, AttentionKernel kernel, cudaStream_t stream) {
  switch (kernel) {
    case AttentionKernel::kSimt:
      return AttentionSimt(args, stream);
    case AttentionKernel::kSm80:
      return AttentionSm80(args, stream);
    case AttentionKernel::kSm90:
      return AttentionSm90(args, stream);
  }
  return {};
}

}  // namespace darkroom::kernels
