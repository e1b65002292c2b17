// Attention on the ordinary units, for what the tensor cores do not take: f32, and head sizes other
// than 64 and 128 (an autoencoder's single head of 512). A warp per query and head; its lanes share
// the head's elements, keys follow each other with a running maximum and sum.
#include <cmath>

#include "kernels/common/block_sum.h"
#include "kernels/common/sequence_tiles.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kQueries = 8;  // of a block: one per warp
constexpr int kThreads = kQueries * ptx::kWarpThreads;

// kPerLane * 32 elements of a head at most.
template <typename T, int kPerLane>
__global__ void __launch_bounds__(kThreads) AttentionSimtKernel(AttentionArgs args) {
  const SequenceTile tile = FindTile(args.batch, static_cast<int32_t>(blockIdx.x), kQueries);
  if (tile.sequence < 0) return;
  const SequenceRows rows = RowsOfSequence(args.batch, tile.sequence);
  const int32_t query = tile.index * kQueries + ptx::Warp();
  if (query >= rows.length) return;
  const int64_t head = int64_t{blockIdx.y} * args.head_dim;
  const auto element = [&](int i) { return ptx::Lane() + i * ptx::kWarpThreads; };
  const auto load = [&](const void* tensor, int32_t row, float(&values)[kPerLane]) {
    const T* from = static_cast<const T*>(tensor) + rows.RowOf(row) * args.row_stride + head;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      values[i] = element(i) < args.head_dim ? ToFloat(from[element(i)]) : 0.0f;
    }
  };

  float q[kPerLane];
  load(args.q, query, q);
  float out[kPerLane] = {};
  float maximum = -INFINITY;
  float sum = 0.0f;
  const int32_t keys = args.causal ? query + 1 : rows.length;
  for (int32_t key = 0; key < keys; ++key) {
    float k[kPerLane];
    load(args.k, key, k);
    float dot = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) dot = fmaf(q[i], k[i], dot);
    float score = WarpSum(dot) * args.scale;
    if (args.position_bias != nullptr) {
      score += args.position_bias[blockIdx.y * (2 * int64_t{args.position_span} - 1) + key - query +
                                  args.position_span - 1];
    }
    const float higher = fmaxf(maximum, score);
    const float correction = expf(maximum - higher);
    const float weight = expf(score - higher);
    maximum = higher;
    sum = fmaf(sum, correction, weight);
    float v[kPerLane];
    load(args.v, key, v);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) out[i] = fmaf(out[i], correction, weight * v[i]);
  }
  const int64_t to = rows.RowOf(query) * args.out_stride + head;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    if (element(i) < args.head_dim) {
      StoreElement(args.out, args.out_dtype, to + element(i), out[i] / sum);
    }
  }
}

}  // namespace

Result AttentionSimt(const AttentionArgs& args, cudaStream_t stream) {
  const dim3 blocks(static_cast<uint32_t>(SequenceTilesMax(args.batch, kQueries)),
                    static_cast<uint32_t>(args.heads));
  return DispatchRowDType(args.dtype, [&]<typename T>(T) {
    const auto kernel = args.head_dim <= 128   ? AttentionSimtKernel<T, 4>
                        : args.head_dim <= 512 ? AttentionSimtKernel<T, 16>
                                               : AttentionSimtKernel<T, 32>;
    return ptx::Launch(kernel, {blocks, kThreads}, stream, args);
  });
}

}  // namespace darkroom::kernels
