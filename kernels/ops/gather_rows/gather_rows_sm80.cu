// A warp per row of `out`; which sequence it belongs to is found from the boundaries, since rows
// between sequences belong to none.
#include "kernels/common/sequence_tiles.h"
#include "kernels/ops/gather_rows/gather_rows.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * ptx::kWarpThreads;

__global__ void __launch_bounds__(kThreads) GatherRowsKernel(GatherRowsArgs args) {
  const int64_t item = int64_t{blockIdx.x} * kWarps + ptx::Warp();
  PackedBatch second_runs = args.batch;
  second_runs.prefix_boundaries = nullptr;
  const SequenceTile row = FindTile(second_runs, static_cast<int32_t>(item), 1);
  if (row.sequence < 0) return;
  const float* from = args.sources[row.sequence] + row.index * args.dim;
  float* to = args.out + (args.batch.boundaries[row.sequence] + int64_t{row.index}) * args.dim;
  for (int64_t i = ptx::Lane(); i < args.dim; i += ptx::kWarpThreads) to[i] = from[i];
}

}  // namespace

Result GatherRows(const GatherRowsArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateGatherRows(args); !valid.ok()) return valid;
  const int64_t blocks = (args.batch.capacity + kWarps - 1) / kWarps;
  return ptx::Launch(GatherRowsKernel, {dim3(static_cast<uint32_t>(blocks)), kThreads}, stream,
                     args);
}

}  // namespace darkroom::kernels
