#include "kernels/ops/qk_norm_rope/qk_norm_rope.h"

#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidateQkNormRope(const QkNormRopeArgs& args) {
  Result result = FirstError(
      CheckRange("capacity", args.batch.capacity, 1, kRowsMax),
      CheckRange("heads", args.heads, 1, kHeadsMax),
      CheckRange("head_dim", args.head_dim, 1, kHeadDimMax),
      CheckRange("row_stride", args.row_stride, int64_t{3} * args.heads * args.head_dim, INT64_MAX),
      CheckPresent("live_rows", args.batch.live_rows), CheckPresent("qkv", args.qkv));
  if (!result.ok()) return result;
  if (!IsRowDType(args.dtype)) return Result::Invalid("qkv must be f32 or bf16");
  if (!(args.epsilon >= 0.0f)) return Result::Invalid("epsilon must not be negative");
  if ((args.cos == nullptr) != (args.sin == nullptr)) {
    return Result::Invalid("cos and sin go together: one of them is null");
  }
  if (args.cos != nullptr && args.head_dim % 2 != 0) {
    return Result::Invalid("head_dim is " + std::to_string(args.head_dim) +
                           "; it must be even for a rotation");
  }
  return {};
}

}  // namespace darkroom::kernels
