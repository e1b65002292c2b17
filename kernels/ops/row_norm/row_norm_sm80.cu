// Bound by memory: a row is read once, kept in registers over both sums (mean, then squared
// distances from it, which is exact where the mean is large), and written once. 16 bytes per
// access.
#include <cmath>

#include "kernels/common/block_sum.h"
#include "kernels/common/vectors.h"
#include "kernels/ops/row_norm/row_norm.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / ptx::kWarpThreads;

// The modulation and learned weights of one element or of eight.
struct Affine {
  const float* weight;
  const float* bias;
  const float* scale;
  const float* shift;

  __device__ Affine(const RowNormArgs& args, int64_t row)
      : weight(args.weight), bias(args.bias), scale(args.scale), shift(args.shift) {
    if (scale == nullptr && shift == nullptr) return;
    const int64_t offset = args.batch.row_to_sequence[row] * args.modulation_stride;
    if (scale != nullptr) scale += offset;
    if (shift != nullptr) shift += offset;
  }

  __device__ float Apply(float value, int64_t i) const {
    if (weight != nullptr) value *= weight[i];
    if (bias != nullptr) value += bias[i];
    if (scale != nullptr) value = fmaf(value, scale[i], value);
    return shift != nullptr ? value + shift[i] : value;
  }

  __device__ void Apply(float (&values)[kVectorElements], int64_t i) const {
    float factor[kVectorElements];
    const auto each = [&](const float* table, auto&& combine) {
      if (table == nullptr) return;
      LoadVector(table + i, factor);
#pragma unroll
      for (int e = 0; e < kVectorElements; ++e) values[e] = combine(values[e], factor[e]);
    };
    each(weight, [](float value, float f) { return value * f; });
    each(bias, [](float value, float f) { return value + f; });
    each(scale, [](float value, float f) { return fmaf(value, f, value); });
    each(shift, [](float value, float f) { return value + f; });
  }
};

__device__ float InverseDeviation(float squares, const RowNormArgs& args) {
  return 1.0f / sqrtf(squares / static_cast<float>(args.dim) + args.epsilon);
}

// Blocks that should fit on a multiprocessor. Left alone, ptxas aims at more of them than the
// registers allow and spills.
template <int kVectors>
inline constexpr int kBlocksMin = kVectors == 8 ? 4 : 6;

template <typename In, typename Out, int kVectors>
__global__ void __launch_bounds__(kThreads, kBlocksMin<kVectors>) RowNormKernel(RowNormArgs args) {
  const int64_t row = blockIdx.x;
  if (row >= *args.batch.live_rows) return;
  auto* scratch = reinterpret_cast<float*>(ptx::SharedMemory());
  const In* x = static_cast<const In*>(args.x) + row * args.dim;
  Out* out = static_cast<Out*>(args.out) + row * args.dim;
  const auto first = [&](int v) {
    return (static_cast<int64_t>(threadIdx.x) + v * kThreads) * kVectorElements;
  };

  float values[kVectors][kVectorElements] = {};
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (first(v) < args.dim) LoadVector(x + first(v), values[v]);
#pragma unroll
    for (int e = 0; e < kVectorElements; ++e) sum += values[v][e];
  }
  const float mean =
      args.rms ? 0.0f : BlockSum<kThreads>(sum, scratch) / static_cast<float>(args.dim);
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (first(v) >= args.dim) continue;
#pragma unroll
    for (int e = 0; e < kVectorElements; ++e) {
      values[v][e] -= mean;
      squares = fmaf(values[v][e], values[v][e], squares);
    }
  }
  const float inverse = InverseDeviation(BlockSum<kThreads>(squares, scratch + kWarps), args);
  const Affine affine(args, row);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (first(v) >= args.dim) continue;
#pragma unroll
    for (int e = 0; e < kVectorElements; ++e) values[v][e] *= inverse;
    affine.Apply(values[v], first(v));
    StoreVector(out + first(v), values[v]);
  }
}

// Any dimension and alignment; elements belong to the same threads as above.
template <typename In, typename Out>
__global__ void __launch_bounds__(kThreads) RowNormScalarKernel(RowNormArgs args) {
  const int64_t row = blockIdx.x;
  if (row >= *args.batch.live_rows) return;
  auto* scratch = reinterpret_cast<float*>(ptx::SharedMemory());
  const In* x = static_cast<const In*>(args.x) + row * args.dim;
  Out* out = static_cast<Out*>(args.out) + row * args.dim;
  const auto each = [&](auto&& visit) {
    for (int64_t first = threadIdx.x * kVectorElements; first < args.dim;
         first += kThreads * kVectorElements) {
      const int64_t left = args.dim - first;
      const int64_t end = first + (left < kVectorElements ? left : kVectorElements);
      for (int64_t i = first; i < end; ++i) visit(i);
    }
  };

  float sum = 0.0f;
  each([&](int64_t i) { sum += ToFloat(x[i]); });
  const float mean =
      args.rms ? 0.0f : BlockSum<kThreads>(sum, scratch) / static_cast<float>(args.dim);
  float squares = 0.0f;
  each([&](int64_t i) {
    const float distance = ToFloat(x[i]) - mean;
    squares = fmaf(distance, distance, squares);
  });
  const float inverse = InverseDeviation(BlockSum<kThreads>(squares, scratch + kWarps), args);
  const Affine affine(args, row);
  each([&](int64_t i) {
    out[i] = FromFloat<Out>(affine.Apply((ToFloat(x[i]) - mean) * inverse, i));
  });
}

template <typename In, typename Out>
void (*KernelOf(int vectors))(RowNormArgs) {
  switch (vectors) {
    case 1:
      return RowNormKernel<In, Out, 1>;
    case 2:
      return RowNormKernel<In, Out, 2>;
    case 3:
      return RowNormKernel<In, Out, 3>;
    case 4:
      return RowNormKernel<In, Out, 4>;
    case 8:
      return RowNormKernel<In, Out, 8>;
    default:
      return RowNormScalarKernel<In, Out>;
  }
}

}  // namespace

Result RowNorm(const RowNormArgs& args, cudaStream_t stream) {
  if (Result valid = ValidateRowNorm(args); !valid.ok()) return valid;
  const RowNormConfig config = ChooseRowNormConfig(args);
  const ptx::LaunchShape shape{dim3(static_cast<uint32_t>(args.batch.capacity)), config.threads,
                               2 * kWarps * sizeof(float)};
  return DispatchRowDType(args.x_dtype, [&]<typename In>(In) {
    return DispatchRowDType(args.out_dtype, [&]<typename Out>(Out) {
      return ptx::Launch(KernelOf<In, Out>(config.vectors), shape, stream, args);
    });
  });
}

}  // namespace darkroom::kernels
