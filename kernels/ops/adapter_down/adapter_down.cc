#include "kernels/ops/adapter_down/adapter_down.h"

#include "kernels/common/alignment.h"
#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidateAdapterDown(const AdapterDownArgs& args) {
  Result result =
      FirstError(CheckRange("capacity", args.batch.capacity, 1, kRowsMax),
                 CheckRange("in_features", args.in_features, 1, kFeaturesMax),
                 CheckPresent("live_rows", args.batch.live_rows), CheckPresent("x", args.x),
                 CheckPresent("ranges", args.adapters.ranges));
  if (!result.ok()) return result;
  if (!IsRowDType(args.x_dtype)) return Result::Invalid("x must be f32 or bf16");
  if (result = CheckElements("x", args.x, args.x_dtype); !result.ok()) return result;
  return ValidateAdapters(args.adapters);
}

AdapterDownKernel ChooseAdapterDownKernel(const AdapterDownArgs& args) {
  const bool tensor_cores = args.x_dtype == DType::kBf16 && args.adapters.dtype == DType::kBf16 &&
                            args.in_features % kVectorElements == 0 && IsAligned16(args.x);
  return tensor_cores ? AdapterDownKernel::kSm80 : AdapterDownKernel::kSimt;
}

Result AdapterDown(const AdapterDownArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateAdapterDown(args); !valid.ok()) return valid;
  return ChooseAdapterDownKernel(args) == AdapterDownKernel::kSm80 ? AdapterDownSm80(args, stream)
                                                                   : AdapterDownSimt(args, stream);
}

}  // namespace darkroom::kernels
