#include <cmath>

#include "kernels/cases/support.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/ops/row_norm/row_norm.h"

namespace darkroom::kernels::cases {
namespace {

constexpr int64_t kDim = 3072;
constexpr int64_t kRows = 720'000;  // 2.2e9 elements
constexpr int64_t kWidth = 24 * 128;

// bf16 zeros with `last` at the very end.
DeviceBytes ZerosWithLast(int64_t elements, const std::vector<float>& last) {
  DeviceBytes memory(static_cast<size_t>(elements) * 2, 0);
  const DeviceFloats tail(DType::kBf16, last);
  cudaMemcpy(static_cast<uint8_t*>(memory.data()) + elements * 2 - last.size() * 2, tail.data(),
             last.size() * 2, cudaMemcpyDeviceToDevice);
  return memory;
}

std::vector<float> LastOf(const DeviceBytes& memory, int64_t elements, size_t count) {
  const DeviceFloats tail(DType::kBf16, count);
  cudaMemcpy(tail.data(), static_cast<uint8_t*>(memory.data()) + elements * 2 - count * 2,
             count * 2, cudaMemcpyDeviceToDevice);
  return tail.Read();
}

void LargeRowNorm(Check& check) {
  const Batch batch({{0, kRows}});
  const auto last = Random(kDim, 71, DType::kBf16);
  const DeviceBytes x = ZerosWithLast(kRows * kDim, last);
  const DeviceBytes out(size_t{kRows} * kDim * 2);
  RowNormArgs args;
  args.batch = batch.device();
  args.x = x.data();
  args.out = out.data();
  args.x_dtype = args.out_dtype = DType::kBf16;
  args.dim = kDim;
  args.rms = true;
  check.Ok(RowNorm(args, nullptr));
  double squares = 0;
  for (const float value : last) squares += static_cast<double>(value) * value;
  std::vector<double> want;
  for (const float value : last) want.push_back(value / std::sqrt(squares / kDim + 1e-6f));
  check.Near("last row", LastOf(out, kRows * kDim, kDim), want, BoundOf(DType::kBf16));
}

void LargeLinear(Check& check) {
  const Batch batch({{0, kRows}});
  const int64_t features = 64;
  const auto last = Random(kDim, 72, DType::kBf16);
  const auto weight = Random(static_cast<size_t>(features * kDim), 73, DType::kBf16);
  const DeviceBytes x = ZerosWithLast(kRows * kDim, last);
  const DeviceFloats device_weight(DType::kBf16, weight);
  const DeviceBytes out(size_t{kRows} * features * 2);
  LinearArgs args;
  args.batch = batch.device();
  args.in_features = kDim;
  args.out_features = args.out_stride = features;
  args.x = x.data();
  args.weight = device_weight.data();
  args.out = out.data();
  args.x_dtype = args.weight_dtype = args.out_dtype = DType::kBf16;
  check.Ok(Linear(args, {}, nullptr));
  std::vector<double> want(static_cast<size_t>(features));
  for (size_t c = 0; c < want.size(); ++c) {
    for (size_t k = 0; k < last.size(); ++k) {
      want[c] += static_cast<double>(last[k]) * weight[c * last.size() + k];
    }
  }
  check.Near("last row", LastOf(out, kRows * features, want.size()), want, BoundOf(DType::kBf16));
}

// A sequence of one row at the end of the buffer: its values are what comes out.
void LargeAttention(Check& check) {
  const int32_t rows = 240'000;  // times q, k and v
  const Batch batch({{0, rows - 1}, {0, 1}});
  const int64_t elements = int64_t{rows} * 3 * kWidth;
  const auto last = Random(static_cast<size_t>(3 * kWidth), 74, DType::kBf16);
  const DeviceBytes qkv = ZerosWithLast(elements, last);
  const DeviceBytes out(static_cast<size_t>(rows * kWidth) * 2);
  // Only the last sequence lives, so that the others cost no time.
  const DeviceTable<int32_t> boundaries({rows - 1, rows}), one({1});
  AttentionArgs args;
  args.batch = batch.device();
  args.batch.boundaries = boundaries.data();
  args.batch.live_sequences = one.data();
  args.q = qkv.data();
  args.k = static_cast<const uint8_t*>(qkv.data()) + 2 * kWidth;
  args.v = static_cast<const uint8_t*>(qkv.data()) + 4 * kWidth;
  args.dtype = args.out_dtype = DType::kBf16;
  args.heads = 24;
  args.head_dim = 128;
  args.row_stride = 3 * kWidth;
  args.out = out.data();
  args.out_stride = kWidth;
  check.Ok(Attention(args, {}, nullptr));
  const std::vector<double> want(last.begin() + 2 * kWidth, last.end());
  check.Near("last row", LastOf(out, rows * kWidth, kWidth), want, BoundOf(DType::kBf16));
}

}  // namespace

std::vector<Case> LargeCases(Extent extent) {
  if (extent == Extent::kSmall) return {};
  return {{"row_norm/2^31 elements", LargeRowNorm},
          {"linear/2^31 elements", LargeLinear},
          {"attention/2^31 elements", LargeAttention}};
}

}  // namespace darkroom::kernels::cases
