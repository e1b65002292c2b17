#include <cmath>

#include "kernels/cases/support.h"
#include "kernels/ops/row_norm/row_norm.h"

namespace darkroom::kernels::cases {
namespace {

struct Problem {
  int64_t dim;
  DType x, out;
  bool rms, learned, modulated;
  float mean = 0.5f;
};

std::string NameOf(const Problem& p) {
  return "row_norm/" + std::to_string(p.dim) + (p.x == DType::kBf16 ? " bf16" : " f32") +
         (p.out == DType::kBf16 ? "->bf16" : "->f32") + (p.rms ? " rms" : "") +
         (p.learned ? " learned" : "") + (p.modulated ? " modulated" : "");
}

void Run(const Problem& p, Check& check) {
  const Batch batch({{0, 3}, {0, 1}, {0, 0}, {0, 5}}, 0, 2);
  const auto dim = static_cast<size_t>(p.dim);
  const size_t rows = static_cast<size_t>(batch.capacity());
  const int64_t stride = 2 * p.dim;
  const auto x = Random(rows * dim, 1, p.x, 1.0f, p.mean);
  const auto weight = Random(dim, 2), bias = Random(dim, 3);
  const auto table = Random(static_cast<size_t>(batch.device().sequences_max * stride), 4);
  const DeviceFloats device_x(p.x, x), device_weight(DType::kF32, weight);
  const DeviceFloats device_bias(DType::kF32, bias), device_table(DType::kF32, table);
  const DeviceFloats out(p.out, rows * dim);
  RowNormArgs args;
  args.batch = batch.device();
  args.x = device_x.data();
  args.x_dtype = p.x;
  args.dim = p.dim;
  args.rms = p.rms;
  args.epsilon = 1e-5f;
  if (p.learned) args.weight = device_weight.f32();
  if (p.learned) args.bias = device_bias.f32();
  if (p.modulated) args.shift = device_table.f32();
  if (p.modulated) args.scale = device_table.f32() + p.dim;
  args.modulation_stride = stride;
  args.out = out.data();
  args.out_dtype = p.out;
  check.Ok(RowNorm(args, nullptr));

  auto got = out.Read();
  std::vector<double> want;
  for (int64_t row = 0; row < batch.live_rows(); ++row) {
    const float* from = &x[static_cast<size_t>(row) * dim];
    double mean = 0, squares = 0;
    for (size_t i = 0; i < dim && !p.rms; ++i) mean += from[i] / static_cast<double>(dim);
    for (size_t i = 0; i < dim; ++i) squares += (from[i] - mean) * (from[i] - mean);
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(dim) + 1e-5f);
    const float* shift = &table[static_cast<size_t>(batch.sequence_of(row) * stride)];
    for (size_t i = 0; i < dim; ++i) {
      double value = (from[i] - mean) * inverse;
      if (p.learned) value = value * weight[i] + bias[i];
      if (p.modulated) value = value * (1.0 + shift[dim + i]) + shift[i];
      want.push_back(value);
    }
  }
  for (size_t i = want.size(); i < got.size(); ++i) {
    check.That(std::isnan(got[i]), "a padding row was written");
  }
  got.resize(want.size());
  check.Near("out", got, want, BoundOf(p.out));

  // The scalar kernel, which an address that is not aligned chooses, gives the same bits.
  if (p.dim % 8 != 0 || p.dim > 2000) return;
  std::vector<float> shifted(1);
  shifted.insert(shifted.end(), x.begin(), x.end());
  const DeviceFloats moved(p.x, shifted), again(p.out, rows * dim);
  args.x = static_cast<const uint8_t*>(moved.data()) + (p.x == DType::kBf16 ? 2 : 4);
  args.out = again.data();
  check.That(ChooseRowNormConfig(args).vectors == 0, "not the scalar kernel");
  check.Ok(RowNorm(args, nullptr));
  auto other = again.Read();
  other.resize(want.size());
  check.Same("scalar", other, got);
}

}  // namespace

std::vector<Case> RowNormCases(Extent extent) {
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16;
  std::vector<Problem> problems = {
      {1, kF32, kF32, true, true, false},      {7, kF32, kBf16, false, true, true},
      {64, kBf16, kBf16, false, false, false}, {1152, kF32, kF32, false, false, true, 30.0f},
      {1152, kBf16, kBf16, true, true, false}, {3072, kBf16, kF32, false, false, true},
      {5000, kF32, kBf16, false, true, true},  {8200, kF32, kF32, true, true, false}};
  if (extent == Extent::kFull) problems.push_back({131072, kBf16, kBf16, false, true, true});
  std::vector<Case> cases;
  for (const Problem& p : problems) {
    cases.push_back({NameOf(p), [p](Check& check) { Run(p, check); }});
  }
  return cases;
}

}  // namespace darkroom::kernels::cases
