// A warp per head of a row, queries and keys alike. Lane l has the elements 2 (l + 32 i) and the
// next: neighbours that are turned together are in one lane, and a warp's accesses lie together.
// The row's angles are read by all of its heads out of the cache.
#include <cmath>

#include "kernels/common/block_sum.h"
#include "kernels/ops/qk_norm_rope/qk_norm_rope.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * ptx::kWarpThreads;

template <typename T>
__global__ void __launch_bounds__(kThreads) QkNormRopeKernel(QkNormRopeArgs args) {
  const int64_t item = int64_t{blockIdx.x} * kWarps + ptx::Warp();
  const int64_t row = item / (2 * args.heads);
  if (row >= args.batch.capacity || row >= *args.batch.live_rows) return;
  const int64_t head = item % (2 * args.heads);
  T* x = static_cast<T*>(args.qkv) + row * args.row_stride + head * args.head_dim;
  const float* weight = head < args.heads ? args.q_weight : args.k_weight;
  if (weight == nullptr && args.cos == nullptr) return;

  float inverse = 1.0f;
  if (weight != nullptr) {
    float squares = 0.0f;
    for (int i = 2 * ptx::Lane(); i < args.head_dim; i += 2 * ptx::kWarpThreads) {
      const float first = ToFloat(x[i]);
      const float second = i + 1 < args.head_dim ? ToFloat(x[i + 1]) : 0.0f;
      squares = fmaf(second, second, fmaf(first, first, squares));
    }
    inverse = 1.0f / sqrtf(WarpSum(squares) / static_cast<float>(args.head_dim) + args.epsilon);
  }
  const int64_t angles = row * (args.head_dim / 2);
  for (int i = 2 * ptx::Lane(); i < args.head_dim; i += 2 * ptx::kWarpThreads) {
    const bool pair = i + 1 < args.head_dim;
    float first = ToFloat(x[i]);
    float second = pair ? ToFloat(x[i + 1]) : 0.0f;
    if (weight != nullptr) {
      first *= inverse * weight[i];
      if (pair) second *= inverse * weight[i + 1];
    }
    if (args.cos != nullptr) {
      const float cosine = args.cos[angles + i / 2];
      const float sine = args.sin[angles + i / 2];
      const float turned = fmaf(first, cosine, -(second * sine));
      second = fmaf(second, cosine, first * sine);
      first = turned;
    }
    x[i] = FromFloat<T>(first);
    if (pair) x[i + 1] = FromFloat<T>(second);
  }
}

}  // namespace

Result QkNormRope(const QkNormRopeArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateQkNormRope(args); !valid.ok()) return valid;
  const int64_t items = args.batch.capacity * 2 * args.heads;
  const int64_t blocks = (items + kWarps - 1) / kWarps;
  if (blocks > INT32_MAX) {
    return Result::Invalid("capacity x heads is " + std::to_string(items / 2) +
                           "; it must be at most " +
                           std::to_string(int64_t{INT32_MAX} * kWarps / 2));
  }
  return DispatchRowDType(args.dtype, [&]<typename T>(T) {
    return ptx::Launch(QkNormRopeKernel<T>, {dim3(static_cast<uint32_t>(blocks)), kThreads}, stream,
                       args);
  });
}

}  // namespace darkroom::kernels
