#include <algorithm>
#include <cmath>

#include "kernels/cases/support.h"
#include "kernels/ops/linear/linear.h"

namespace darkroom::kernels::cases {
namespace {

constexpr DType kF32 = DType::kF32;
constexpr DType kBf16 = DType::kBf16;

enum class Epilogue { kPlain, kGateResidual, kResidual, kFactor };

struct Problem {
  std::string name;
  std::vector<Lengths> sequences;
  int64_t in, out;
  LinearConfig config;
  DType x = DType::kBf16, weight = DType::kBf16, y = DType::kBf16;
  Activation activation = Activation::kNone;
  Epilogue epilogue = Epilogue::kPlain;
  int64_t extra_stride = 0;
  bool bias = true;
};

double ActivateExactly(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kRelu:
      return std::max(x, 0.0);
  }
  return x;
}

Result Launch(const LinearArgs& args, const LinearConfig& config) {
  if (Result valid = ValidateLinear(args); !valid.ok()) return valid;
  return LinearWith(args, config, nullptr);
}

// Everything a run reads, on the host and on the device.
struct Inputs {
  Inputs(const Problem& p, const Batch& batch)
      : x(Random(static_cast<size_t>(batch.capacity() * p.in), 11, p.x)),
        weight(Random(static_cast<size_t>(p.out * p.in), 12, p.weight,
                      1.0f / std::sqrt(static_cast<float>(p.in)))),
        bias(Random(static_cast<size_t>(p.out), 13)),
        beside(Random(static_cast<size_t>(batch.capacity() * p.out), 14, p.y)),
        gate(Random(static_cast<size_t>(batch.device().sequences_max * (p.out + 3)), 15)),
        device_x(p.x, x),
        device_weight(p.weight, weight),
        device_bias(DType::kF32, bias),
        device_beside(p.y, beside),
        device_gate(DType::kF32, gate) {}

  LinearArgs ArgsOf(const Problem& p, const PackedBatch& batch, const DeviceFloats& out) const {
    LinearArgs args;
    args.batch = batch;
    args.in_features = p.in;
    args.out_features = p.out;
    args.x = device_x.data();
    args.x_dtype = p.x;
    args.weight = device_weight.data();
    args.weight_dtype = p.weight;
    if (p.bias) args.bias = device_bias.f32();
    args.activation = p.activation;
    if (p.epilogue == Epilogue::kGateResidual) args.gate = device_gate.f32();
    if (p.epilogue == Epilogue::kGateResidual || p.epilogue == Epilogue::kResidual) {
      args.residual = device_beside.data();
    }
    if (p.epilogue == Epilogue::kFactor) args.factor = device_beside.data();
    args.residual_dtype = args.factor_dtype = p.y;
    args.gate_stride = p.out + 3;
    args.out = out.data();
    args.out_dtype = p.y;
    args.out_stride = p.out + p.extra_stride;
    return args;
  }

  std::vector<float> x, weight, bias, beside, gate;
  DeviceFloats device_x, device_weight, device_bias, device_beside, device_gate;
};

double Expected(const Problem& p, const Batch& batch, const Inputs& inputs, int64_t row,
                int64_t column) {
  double sum = p.bias ? inputs.bias[static_cast<size_t>(column)] : 0.0;
  const float* x = &inputs.x[static_cast<size_t>(row * p.in)];
  const float* w = &inputs.weight[static_cast<size_t>(column * p.in)];
  for (int64_t k = 0; k < p.in; ++k) sum += static_cast<double>(x[k]) * w[k];
  const double value = ActivateExactly(p.activation, sum);
  const double beside = inputs.beside[static_cast<size_t>(row * p.out + column)];
  switch (p.epilogue) {
    case Epilogue::kPlain:
      return value;
    case Epilogue::kGateResidual:
      return beside +
             value *
                 inputs.gate[static_cast<size_t>(batch.sequence_of(row) * (p.out + 3) + column)];
    case Epilogue::kResidual:
      return beside + value;
    case Epilogue::kFactor:
      return beside * value;
  }
  return value;
}

void Run(const Problem& p, Check& check) {
  const Batch batch(p.sequences, 0, 5);
  const Inputs inputs(p, batch);
  const int64_t stride = p.out + p.extra_stride;
  const DeviceFloats out(p.y, static_cast<size_t>(batch.capacity() * stride));
  const LinearArgs args = inputs.ArgsOf(p, batch.device(), out);
  check.Ok(Launch(args, p.config));
  const auto all = out.Read();

  std::vector<float> got;
  std::vector<double> want;
  for (int64_t row = 0; row < batch.capacity(); ++row) {
    for (int64_t column = 0; column < stride; ++column) {
      const float value = all[static_cast<size_t>(row * stride + column)];
      if (row >= batch.live_rows() || column >= p.out) {
        check.That(std::isnan(value), "wrote outside of the live rows and columns");
        continue;
      }
      // On large products a sample of the rows is enough; edges are part of it.
      if (batch.live_rows() > 300 && row % 37 != 0 && row + 3 < batch.live_rows()) continue;
      got.push_back(value);
      want.push_back(Expected(p, batch, inputs, row, column));
    }
  }
  check.Near("out", got, want, p.y == DType::kBf16 ? 4e-3 : 4e-6);

  // Every row alone gives the bits that it has in company, the last one too.
  for (const int64_t row : {int64_t{0}, int64_t{batch.live_rows()} - 1}) {
    const Batch alone({{0, 1}});
    const DeviceFloats single(p.y, static_cast<size_t>(stride));
    LinearArgs one = inputs.ArgsOf(p, alone.device(), single);
    const auto from = [&](const void* data, int64_t element, DType dtype) {
      return static_cast<const uint8_t*>(data) + element * (dtype == DType::kBf16 ? 2 : 4);
    };
    one.x = from(args.x, row * p.in, p.x);
    if (one.residual != nullptr) one.residual = from(one.residual, row * p.out, p.y);
    if (one.factor != nullptr) one.factor = from(one.factor, row * p.out, p.y);
    if (one.gate != nullptr) one.gate += batch.sequence_of(row) * one.gate_stride;
    check.Ok(Launch(one, p.config));
    auto bits = single.Read();
    bits.resize(static_cast<size_t>(p.out));
    const auto begin = all.begin() + row * stride;
    check.Same("row " + std::to_string(row) + " alone", bits, {begin, begin + p.out});
  }
}

// All tiles of a kernel give the same bits.
void RunTiles(const std::vector<LinearConfig>& configs, Check& check) {
  Problem p{"", {{0, 70}}, 200, 136, {}};
  const Batch batch(p.sequences);
  const Inputs inputs(p, batch);
  std::vector<float> first;
  for (const LinearConfig& config : configs) {
    const DeviceFloats out(p.y, static_cast<size_t>(batch.capacity() * p.out));
    check.Ok(Launch(inputs.ArgsOf(p, batch.device(), out), config));
    const auto got = out.Read();
    if (first.empty()) first = got;
    check.Same("columns " + std::to_string(config.tile_columns), got, first);
  }
}

std::vector<Problem> SimtProblems() {
  const LinearConfig simt{LinearKernel::kSimt, 0, 0};
  Problem f32{"simt f32", {{0, 9}, {0, 60}}, 37, 70, simt, kF32, kF32, kF32, Activation::kGelu};
  Problem mixed{"simt mixed", {{0, 3}}, 19, 5, simt, kF32, kBf16, kBf16, Activation::kSilu};
  mixed.epilogue = Epilogue::kGateResidual;
  mixed.extra_stride = 2;
  Problem odd{"simt odd bf16", {{0, 5}}, 33, 9, simt, kBf16, kBf16, kF32, Activation::kQuickGelu};
  odd.epilogue = Epilogue::kFactor;
  return {f32, mixed, odd};
}

std::vector<Problem> Sm80Problems(Extent extent) {
  const LinearConfig wide{LinearKernel::kSm80, 128, 128};
  const LinearConfig half{LinearKernel::kSm80, 64, 128};
  const LinearConfig small{LinearKernel::kSm80, 64, 64};
  Problem ragged{"128x128 ragged", {{0, 20}, {0, 113}}, 200, 141, wide};
  ragged.activation = Activation::kGeluTanh;
  ragged.epilogue = Epilogue::kGateResidual;
  Problem f32_out{"128x128 f32 out", {{0, 17}}, 64, 128, wide};
  f32_out.y = kF32;
  f32_out.epilogue = Epilogue::kResidual;
  Problem strided{"64x128 strided", {{0, 70}}, 72, 130, half};
  strided.activation = Activation::kRelu;
  strided.extra_stride = 6;
  Problem factor{"64x64 factor", {{0, 1}}, 328, 66, small};
  factor.y = kF32;
  factor.activation = Activation::kSilu;
  factor.epilogue = Epilogue::kFactor;
  Problem one_step{"64x64 one step", {{0, 65}}, 8, 64, small};
  one_step.bias = false;
  std::vector<Problem> problems = {ragged, f32_out, strided, factor, one_step};
  if (extent == Extent::kFull) {
    Problem large{"128x128 large", {{0, 1021}, {0, 300}}, 3072, 3072, wide};
    large.activation = Activation::kGeluTanh;
    large.epilogue = Epilogue::kGateResidual;
    problems.push_back(large);
    problems.push_back({"64x64 deep", {{0, 100}}, 12288, 520, small});
  }
  return problems;
}

std::vector<Problem> Sm90Problems(Extent extent) {
  // One or two blocks, so that each goes over several tiles.
  const LinearConfig wide{LinearKernel::kSm90, 128, 256, 1};
  const LinearConfig narrow{LinearKernel::kSm90, 128, 128, 2};
  Problem ragged{"sm90 128x256 ragged", {{0, 20}, {0, 113}}, 328, 261, wide};
  ragged.activation = Activation::kGeluTanh;
  ragged.epilogue = Epilogue::kGateResidual;
  Problem strided{"sm90 128x128 strided", {{0, 130}}, 520, 134, narrow};
  strided.y = kF32;
  strided.extra_stride = 6;
  Problem one_step{"sm90 128x128 one step", {{0, 3}}, 8, 40, narrow};
  one_step.epilogue = Epilogue::kFactor;
  std::vector<Problem> problems = {ragged, strided, one_step};
  if (extent == Extent::kFull) {
    Problem large{"sm90 128x256 large", {{0, 1021}, {0, 3300}}, 3072, 3072, wide};
    large.config.multiprocessors = 132;
    large.epilogue = Epilogue::kGateResidual;
    problems.push_back(large);
  }
  return problems;
}

}  // namespace

std::vector<Case> LinearCases(Extent extent) {
  std::vector<Case> cases;
  std::vector<Problem> problems = SimtProblems();
  for (const Problem& p : Sm80Problems(extent)) problems.push_back(p);
  for (const Problem& p : problems) {
    cases.push_back({"linear/" + p.name, [p](Check& check) { Run(p, check); }});
  }
  const auto tiles = [&](const char* name, const std::vector<LinearConfig>& configs) {
    cases.push_back({name, [configs](Check& check) { RunTiles(configs, check); }});
  };
  tiles("linear/sm80 tiles agree", {{LinearKernel::kSm80, 128, 128},
                                    {LinearKernel::kSm80, 64, 128},
                                    {LinearKernel::kSm80, 64, 64}});
  if (!HasSm90()) return cases;
  for (const Problem& p : Sm90Problems(extent)) {
    cases.push_back({"linear/" + p.name, [p](Check& check) { Run(p, check); }});
  }
  tiles("linear/sm90 tiles agree",
        {{LinearKernel::kSm90, 128, 256, 2}, {LinearKernel::kSm90, 128, 128, 1}});
  return cases;
}

}  // namespace darkroom::kernels::cases
