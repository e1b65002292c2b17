// A thread per feature of a token, features fastest, so that writes are coalesced; the latents'
// neighbours in x come from cache.
#include "kernels/common/striding.h"
#include "kernels/ops/patchify/patchify.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

template <typename T>
__global__ void __launch_bounds__(kStridingThreads) PatchifyKernel(PatchifyArgs args) {
  const int32_t patch = args.patch;
  const int32_t features = args.channels * patch * patch;
  ForEachIndex(int64_t{*args.batch.live_rows} * features, [&](int64_t index) {
    const int64_t row = index / features;
    const int32_t feature = static_cast<int32_t>(index % features);
    const int32_t sequence = args.batch.row_to_sequence[row];
    const LatentView view = args.views[sequence];
    const int32_t token = static_cast<int32_t>(row) - args.batch.boundaries[sequence];
    const int32_t columns = view.width / patch;
    const int64_t y = token / columns * patch + feature / patch % patch;
    const int64_t x = token % columns * patch + feature % patch;
    const int64_t channel = feature / (patch * patch);
    static_cast<T*>(args.tokens)[index] =
        FromFloat<T>(view.data[(channel * view.height + y) * view.width + x]);
  });
}

}  // namespace

Result Patchify(const PatchifyArgs& args, cudaStream_t stream) {
  if (Result valid = ValidatePatchify(args); !valid.ok()) return valid;
  const int64_t elements = args.batch.capacity * args.channels * args.patch * args.patch;
  return DispatchRowDType(args.dtype, [&]<typename T>(T) {
    return ptx::Launch(PatchifyKernel<T>, {StridingBlocks(elements), kStridingThreads}, stream,
                       args);
  });
}

}  // namespace darkroom::kernels
