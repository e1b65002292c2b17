#include "kernels/ops/patchify/patchify.h"

#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidatePatchify(const PatchifyArgs& args) {
  Result result = FirstError(CheckRange("capacity", args.batch.capacity, 1, kRowsMax),
                             CheckRange("patch", args.patch, 1, kPatchMax));
  if (!result.ok()) return result;
  result = FirstError(
      CheckRange("channels", args.channels, 1, kFeaturesMax / (int64_t{args.patch} * args.patch)),
      CheckPresent("live_rows", args.batch.live_rows),
      CheckPresent("boundaries", args.batch.boundaries),
      CheckPresent("row_to_sequence", args.batch.row_to_sequence),
      CheckPresent("views", args.views), CheckPresent("tokens", args.tokens));
  if (result.ok() && !IsRowDType(args.dtype)) return Result::Invalid("tokens must be f32 or bf16");
  return result;
}

}  // namespace darkroom::kernels
