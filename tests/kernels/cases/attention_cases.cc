#include <algorithm>
#include <cmath>

#include "kernels/cases/support.h"
#include "kernels/ops/attention/attention.h"

namespace darkroom::kernels::cases {
namespace {

struct Problem {
  std::string name;
  std::vector<Lengths> sequences;
  int32_t heads, head_dim;
  DType dtype, out;
  bool causal = false, bias = false;
  int32_t gap = 0;
  int64_t stride_factor = 1;  // rows hold q, k and v beside each other when 3
  bool sm90 = false;          // on such a device
};

Result Launch(const Problem& p, const AttentionArgs& args) {
  return Attention(args, {.compute_capability = p.sm90 ? 90 : 80}, nullptr);
}

struct Inputs {
  Inputs(const Problem& p, const Batch& batch)
      : width(int64_t{p.heads} * p.head_dim),
        stride(width * p.stride_factor),
        span(200),
        qkv(Everything(p, batch)),
        bias(Random(static_cast<size_t>(p.heads * (2 * span - 1)), 22)),
        device_bias(DType::kF32, bias),
        // q, k and v one behind the other, or row by row.
        device(p.dtype, qkv) {}

  static size_t IndexOf(const Problem& p, int which, int64_t row, int64_t column,
                        int64_t capacity) {
    const int64_t width = int64_t{p.heads} * p.head_dim;
    return static_cast<size_t>(p.stride_factor == 1 ? (which * capacity + row) * width + column
                                                    : (row * 3 + which) * width + column);
  }

  // Rows of no sequence may hold anything: they hold NaN.
  static std::vector<float> Everything(const Problem& p, const Batch& batch) {
    const int64_t width = int64_t{p.heads} * p.head_dim;
    std::vector<float> values =
        Random(static_cast<size_t>(batch.capacity() * width * 3), 21, p.dtype);
    std::vector<bool> used(static_cast<size_t>(batch.capacity()));
    for (int32_t s = 0; s < batch.sequences(); ++s) {
      for (const int64_t row : batch.rows(s)) used[static_cast<size_t>(row)] = true;
    }
    for (int64_t row = 0; row < batch.capacity(); ++row) {
      for (int64_t i = 0; !used[static_cast<size_t>(row)] && i < 3 * width; ++i) {
        values[IndexOf(p, static_cast<int>(i / width), row, i % width, batch.capacity())] = NAN;
      }
    }
    return values;
  }

  int64_t width, stride;
  int32_t span;
  std::vector<float> qkv, bias;
  DeviceFloats device_bias, device;
};

AttentionArgs ArgsOf(const Problem& p, const Batch& batch, const Inputs& inputs,
                     const DeviceFloats& out) {
  AttentionArgs args;
  args.batch = batch.device();
  const auto at = [&](int which) {
    return static_cast<const uint8_t*>(inputs.device.data()) +
           Inputs::IndexOf(p, which, 0, 0, batch.capacity()) * (p.dtype == DType::kBf16 ? 2 : 4);
  };
  args.q = at(0);
  args.k = at(1);
  args.v = at(2);
  args.dtype = p.dtype;
  args.heads = p.heads;
  args.head_dim = p.head_dim;
  args.row_stride = inputs.stride;
  args.scale = 1.0f / std::sqrt(static_cast<float>(p.head_dim));
  args.causal = p.causal;
  if (p.bias) args.position_bias = inputs.device_bias.f32();
  args.position_span = inputs.span;
  args.out = out.data();
  args.out_dtype = p.out;
  args.out_stride = inputs.width + 8;
  return args;
}

// One query's row of the result in float64.
std::vector<double> Expected(const Problem& p, const Inputs& inputs, const Batch& batch,
                             const std::vector<int64_t>& rows, int32_t query, int32_t head) {
  const auto value = [&](int which, int64_t row, int i) -> double {
    return inputs
        .qkv[Inputs::IndexOf(p, which, row, int64_t{head} * p.head_dim + i, batch.capacity())];
  };
  const auto keys = p.causal ? query + 1 : static_cast<int32_t>(rows.size());
  std::vector<double> weight(static_cast<size_t>(keys));
  double maximum = -INFINITY, sum = 0;
  for (int32_t key = 0; key < keys; ++key) {
    double dot = 0;
    for (int i = 0; i < p.head_dim; ++i) {
      dot += value(0, rows[static_cast<size_t>(query)], i) *
             value(1, rows[static_cast<size_t>(key)], i);
    }
    dot *= 1.0f / std::sqrt(static_cast<float>(p.head_dim));
    if (p.bias) {
      dot += inputs.bias[static_cast<size_t>(head * (2 * inputs.span - 1) + key - query +
                                             inputs.span - 1)];
    }
    weight[static_cast<size_t>(key)] = dot;
    maximum = std::max(maximum, dot);
  }
  for (double& w : weight) sum += w = std::exp(w - maximum);
  std::vector<double> out(static_cast<size_t>(p.head_dim));
  for (int32_t key = 0; key < keys; ++key) {
    for (int i = 0; i < p.head_dim; ++i) {
      out[static_cast<size_t>(i)] +=
          weight[static_cast<size_t>(key)] / sum * value(2, rows[static_cast<size_t>(key)], i);
    }
  }
  return out;
}

void Run(const Problem& p, Check& check) {
  const Batch batch(p.sequences, p.gap, 4);
  const Inputs inputs(p, batch);
  const int64_t out_stride = inputs.width + 8;
  const DeviceFloats out(p.out, static_cast<size_t>(batch.capacity() * out_stride));
  check.Ok(Launch(p, ArgsOf(p, batch, inputs, out)));
  const auto all = out.Read();
  std::vector<float> got;
  std::vector<double> want;
  std::vector<bool> written(all.size());
  for (int32_t s = 0; s < batch.sequences(); ++s) {
    const auto& rows = batch.rows(s);
    for (size_t query = 0; query < rows.size(); ++query) {
      const bool sampled = rows.size() < 300 || query % 61 == 0 || query + 2 > rows.size();
      for (int32_t head = 0; head < p.heads; ++head) {
        const auto first = static_cast<size_t>(rows[query] * out_stride + head * p.head_dim);
        for (int i = 0; i < p.head_dim; ++i) written[first + static_cast<size_t>(i)] = true;
        if (!sampled) continue;
        got.insert(got.end(), &all[first], &all[first] + p.head_dim);
        const auto exact = Expected(p, inputs, batch, rows, static_cast<int32_t>(query), head);
        want.insert(want.end(), exact.begin(), exact.end());
      }
    }
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (!written[i] && !std::isnan(all[i])) {
      check.That(false, "wrote outside of the sequences");
      break;
    }
  }
  check.Near("out", got, want, p.dtype == DType::kBf16 ? 8e-3 : 2 * BoundOf(p.out));
}

// A sequence alone has the bits that it has between others.
void RunAlone(const Problem& p, Check& check) {
  const Batch batch(p.sequences, p.gap, 4);
  const Inputs inputs(p, batch);
  const int64_t out_stride = inputs.width + 8;
  const DeviceFloats out(p.out, static_cast<size_t>(batch.capacity() * out_stride));
  check.Ok(Launch(p, ArgsOf(p, batch, inputs, out)));
  const auto all = out.Read();
  for (int32_t s = 0; s < batch.sequences(); ++s) {
    const auto& rows = batch.rows(s);
    if (rows.empty()) continue;
    const Batch alone({p.sequences[static_cast<size_t>(s)]});
    Inputs own(p, alone);
    for (int which = 0; which < 3; ++which) {
      for (size_t i = 0; i < rows.size(); ++i) {
        for (int64_t c = 0; c < inputs.width; ++c) {
          own.qkv[Inputs::IndexOf(p, which, static_cast<int64_t>(i), c, alone.capacity())] =
              inputs.qkv[Inputs::IndexOf(p, which, rows[i], c, batch.capacity())];
        }
      }
    }
    const DeviceFloats device(p.dtype, own.qkv), single(p.out, rows.size() * out_stride);
    AttentionArgs args = ArgsOf(p, alone, own, single);
    const auto moved = [&](const void*& pointer) {
      pointer =
          static_cast<const uint8_t*>(device.data()) +
          (static_cast<const uint8_t*>(pointer) - static_cast<const uint8_t*>(own.device.data()));
    };
    moved(args.q);
    moved(args.k);
    moved(args.v);
    check.Ok(Launch(p, args));
    const auto bits = single.Read();
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto a = bits.begin() + static_cast<int64_t>(i) * out_stride;
      const auto b = all.begin() + rows[i] * out_stride;
      check.Same("sequence " + std::to_string(s) + " row " + std::to_string(i),
                 {a, a + inputs.width}, {b, b + inputs.width});
    }
  }
}

// Whole blocks of keys and ends of them in both runs; more blocks than a ring has stages.
std::vector<Problem> Sm90Problems(Extent extent) {
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16;
  const auto problem = [](const char* name, std::vector<Lengths> sequences, int32_t heads,
                          int32_t head_dim, DType out, int32_t gap) {
    return Problem{name, std::move(sequences), heads, head_dim, kBf16, out, false, false, gap, 3,
                   true};
  };
  std::vector<Problem> problems = {
      problem("sm90 hd128 ragged", {{0, 1}, {0, 0}, {0, 200}}, 1, 128, kF32, 0),
      problem("sm90 hd64 ragged", {{0, 3}, {0, 0}, {0, 260}}, 2, 64, kBf16, 0)};
  if (extent == Extent::kFull) {
    problems.push_back(
        problem("sm90 hd128 long", {{512, 4096}, {512, 1024}, {77, 33}}, 4, 128, kBf16, 13));
    problems.push_back(problem("sm90 hd64 long", {{0, 4429}, {0, 1000}}, 3, 64, kBf16, 0));
  }
  problems.push_back(problem("sm90 hd64 joint", {{5, 10}, {130, 513}, {5, 0}}, 1, 64, kBf16, 3));
  problems.push_back(problem("sm90 hd128 joint", {{7, 20}, {176, 360}, {5, 0}}, 1, 128, kBf16, 3));
  return problems;
}

}  // namespace

std::vector<Case> AttentionCases(Extent extent) {
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16;
  const std::vector<Lengths> ragged = {{0, 1}, {0, 0}, {0, 130}, {0, 64}};
  const std::vector<Lengths> joint = {{7, 20}, {70, 60}, {0, 3}, {5, 0}};
  std::vector<Problem> problems = {
      {"simt f32 hd40", {{0, 1}, {0, 0}, {2, 23}, {0, 9}}, 2, 40, kF32, kF32},
      {"simt f32 hd512 joint", {{3, 9}}, 1, 512, kF32, kBf16, false, false, 2},
      {"simt f32 hd64 causal bias", {{0, 5}, {0, 40}}, 2, 64, kF32, kF32, true, true},
      {"simt bf16 hd72 strided",
       {{3, 4}, {9, 20}, {5, 0}},
       1,
       72,
       kBf16,
       kBf16,
       false,
       false,
       1,
       3},
      {"sm80 hd64", ragged, 2, 64, kBf16, kBf16},
      {"sm80 hd128 strided", ragged, 1, 128, kBf16, kF32, false, false, 0, 3},
      {"sm80 hd128 joint", joint, 2, 128, kBf16, kBf16, false, false, 3},
      {"sm80 hd64 causal", {{0, 77}, {0, 150}}, 1, 64, kBf16, kBf16, true},
      {"sm80 hd64 bias", {{4, 100}}, 2, 64, kBf16, kF32, false, true},
      {"sm80 hd128 causal bias joint", joint, 1, 128, kBf16, kBf16, true, true, 1}};
  if (extent == Extent::kFull) {
    problems.push_back({"sm80 hd128 long",
                        {{512, 4096}, {512, 1024}, {77, 33}},
                        4,
                        128,
                        kBf16,
                        kBf16,
                        false,
                        false,
                        13,
                        3});
    problems.push_back({"sm80 hd64 long", {{0, 4429}, {0, 1000}}, 3, 64, kBf16, kBf16});
  }
  std::vector<Case> cases;
  std::vector<size_t> alone = {0, 6};
  if (HasSm90()) {
    for (const Problem& p : Sm90Problems(extent)) problems.push_back(p);
    alone.push_back(problems.size() - 1);
  }
  for (const Problem& p : problems) {
    cases.push_back({"attention/" + p.name, [p](Check& check) { Run(p, check); }});
  }
  for (const size_t which : alone) {
    const Problem p = problems[which];
    cases.push_back({"attention/" + p.name + " alone", [p](Check& check) { RunAlone(p, check); }});
  }
  return cases;
}

}  // namespace darkroom::kernels::cases
