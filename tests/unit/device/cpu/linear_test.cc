#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

double ActivateReference(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGeluTanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case Activation::kQuickGelu:
      return x / (1.0 + std::exp(-1.702 * x));
    case Activation::kRelu:
      return std::max(x, 0.0);
  }
  return NAN;
}

class LinearTest : public OpsTest {
 protected:
  struct Case {
    int64_t in = 96;
    int64_t out = 80;
    DType compute = DType::kF32;
    DType x_dtype = DType::kF32;
    DType out_dtype = DType::kF32;
    Activation activation = Activation::kNone;
    bool gated = false;
  };

  void MakeWeight(Ops& ops, const Case& c) {
    weight_values_ = OwnedTensor(c.compute, {c.out, c.in});
    weight_values_.Fill(random_, 1.0f / std::sqrt(static_cast<float>(c.in)));
    bias_ = OwnedTensor(DType::kF32, {c.out});
    bias_.Fill(random_);
    auto weight = ops.PackLinear(*weight_values_, *bias_, c.compute);
    ASSERT_TRUE(weight.ok()) << weight.status();
    weight_ = *std::move(weight);
  }

  // Runs over two sequences with poisoned padding and returns the error against float64.
  double Error(const Case& c, int rows, int padding) {
    const int first = rows / 3;
    OwnedBatch batch({first, rows - first}, padding);
    OwnedTensor x(c.x_dtype, {(*batch).capacity, c.in});
    x.FillRows(random_, 0, rows);
    OwnedTensor residual(c.out_dtype, {(*batch).capacity, c.out});
    residual.FillRows(random_, 0, rows);
    // Gates of the sequences are slices of wider rows, as adaLN makes them.
    const int64_t gate_stride = 3 * c.out;
    OwnedTensor gates(DType::kF32, {2, gate_stride});
    gates.Fill(random_);
    OwnedTensor out(c.out_dtype, {(*batch).capacity, c.out});
    LinearArgs args;
    args.x = *x;
    args.weight = weight_.get();
    args.activation = c.activation;
    args.out = *out;
    if (c.gated) {
      args.residual = *residual;
      args.gate = Tensor(gates->as<float>() + c.out, DType::kF32, {2, c.out});
      args.gate_stride = gate_stride;
    }
    const absl::Status status = ops().Linear(args, *batch, *stream_);
    EXPECT_TRUE(status.ok()) << status;
    RelativeError error;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t n = 0; n < c.out; ++n) {
        double sum = bias_.Get(n);
        for (int64_t k = 0; k < c.in; ++k) {
          const float value = x.Get(r * c.in + k);
          sum += static_cast<double>(c.compute == DType::kBf16 ? Bf16Round(value) : value) *
                 weight_values_.Get(n * c.in + k);
        }
        double y = ActivateReference(c.activation, sum);
        if (c.gated) {
          y = residual.Get(r * c.out + n) +
              gates.Get((r < first ? 0 : gate_stride) + c.out + n) * y;
        }
        error.Add(out.Get(r * c.out + n), y);
      }
    }
    return error.value();
  }

  OwnedTensor weight_values_;
  OwnedTensor bias_;
  std::unique_ptr<LinearWeight> weight_;
};

TEST_F(LinearTest, MatchesFloat64OnRaggedRows) {
  for (const DType compute : ComputeTypes()) {
    const Case c{.in = 300, .out = 271, .compute = compute};
    MakeWeight(ops(), c);
    for (const int rows : {1, 2, 7, 63, 64, 65, 96, 97, 257}) {
      EXPECT_LT(Error(c, rows, 5), 2e-6) << "rows " << rows << " compute " << int(compute);
    }
  }
}

TEST_F(LinearTest, MatchesFloat64OnOddWeights) {
  for (const DType compute : ComputeTypes()) {
    for (const auto& [in, out] : std::vector<std::array<int64_t, 2>>{
             {1, 1}, {3, 5}, {16, 256}, {255, 33}, {257, 300}, {1152, 64}, {600, 1}}) {
      const Case c{.in = in, .out = out, .compute = compute};
      MakeWeight(ops(), c);
      EXPECT_LT(Error(c, 33, 2), 2e-6) << in << " x " << out << " compute " << int(compute);
    }
  }
}

TEST_F(LinearTest, AppliesActivationGateAndResidual) {
  for (const Activation activation :
       {Activation::kNone, Activation::kGeluTanh, Activation::kGelu, Activation::kSilu,
        Activation::kQuickGelu, Activation::kRelu}) {
    for (const bool gated : {false, true}) {
      const Case c{.activation = activation, .gated = gated};
      MakeWeight(ops(), c);
      EXPECT_LT(Error(c, 70, 3), 2e-6) << "activation " << int(activation) << " gated " << gated;
    }
  }
}

TEST_F(LinearTest, ReadsAndWritesBf16Rows) {
  for (const DType compute : ComputeTypes()) {
    const Case c{.compute = compute,
                 .x_dtype = DType::kBf16,
                 .out_dtype = DType::kBf16,
                 .activation = Activation::kSilu,
                 .gated = true};
    MakeWeight(ops(), c);
    // Half a unit in the last place of bf16.
    EXPECT_LT(Error(c, 70, 3), 2.5e-3);
  }
}

TEST_F(LinearTest, ResidualMayBeTheOutput) {
  const Case c;
  MakeWeight(ops(), c);
  OwnedBatch batch({40});
  OwnedTensor x(DType::kF32, {40, c.in});
  x.Fill(random_);
  OwnedTensor residual(DType::kF32, {40, c.out});
  residual.Fill(random_);
  OwnedTensor apart(DType::kF32, {40, c.out});
  LinearArgs args{.x = *x, .weight = weight_.get(), .residual = *residual, .out = *apart};
  ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
  args.out = *residual;
  ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
  EXPECT_EQ(residual.Rows(0, 40), apart.Rows(0, 40));
}

// The gated feed-forward of T5: the second product meets the first's activations on its way out.
TEST_F(LinearTest, MultipliesByAFactor) {
  for (const DType compute : ComputeTypes()) {
    for (const DType dtype : {DType::kF32, DType::kBf16}) {
      const Case c{.compute = compute, .activation = Activation::kGeluTanh};
      MakeWeight(ops(), c);
      OwnedBatch batch({40}, 3);
      OwnedTensor x(DType::kF32, {43, c.in});
      x.FillRows(random_, 0, 40);
      OwnedTensor factor(dtype, {43, c.out});
      factor.FillRows(random_, 0, 40);
      OwnedTensor plain(DType::kF32, {43, c.out});
      OwnedTensor out(DType::kF32, {43, c.out});
      LinearArgs args{.x = *x, .weight = weight_.get(), .activation = c.activation, .out = *plain};
      ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
      args.out = *out;
      args.factor = *factor;
      ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
      for (int64_t i = 0; i < 40 * c.out; ++i) {
        ASSERT_EQ(out.Get(i), plain.Get(i) * factor.Get(i));
      }
      args.out = *factor;
      ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
      for (int64_t i = 0; i < 40 * c.out; ++i) {
        ASSERT_EQ(factor.Get(i), dtype == DType::kF32 ? out.Get(i) : Bf16Round(out.Get(i)));
      }
    }
  }
}

// Two outputs side by side in one buffer, as the single-stream block joins them; what lies between
// stays as it was.
TEST_F(LinearTest, WritesRowsApart) {
  const Case c{.in = 300, .out = 271};
  MakeWeight(ops(), c);
  OwnedBatch batch({100}, 2);
  OwnedTensor x(DType::kF32, {102, c.in});
  x.FillRows(random_, 0, 100);
  OwnedTensor residual(DType::kF32, {102, c.out});
  residual.FillRows(random_, 0, 100);
  OwnedTensor dense(DType::kF32, {102, c.out});
  LinearArgs args{.x = *x, .weight = weight_.get(), .residual = *residual, .out = *dense};
  ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
  const int64_t stride = c.out + 30;
  OwnedTensor wide(DType::kF32, {102, stride});
  args.out = Tensor(wide->as<float>() + 20, DType::kF32, {102, c.out});
  args.out_stride = stride;
  ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
  for (int64_t row = 0; row < 102; ++row) {
    for (int64_t i = 0; i < stride; ++i) {
      const float value = wide.Get(row * stride + i);
      if (row < 100 && i >= 20 && i < 20 + c.out) {
        ASSERT_EQ(value, dense.Get(row * c.out + i - 20));
      } else {
        ASSERT_TRUE(std::isnan(value)) << row << " " << i;
      }
    }
  }
}

TEST_F(LinearTest, PartsAreOneMatrix) {
  for (const DType compute : ComputeTypes()) {
    const Case c{.in = 70, .out = 301, .compute = compute};
    MakeWeight(ops(), c);
    // Rows 0 to 99 without bias, 100 to 300 with.
    std::fill_n(bias_->as<float>(), 100, 0.0f);
    const size_t skip = 100 * c.in * ByteSize(compute);
    const LinearPart parts[] = {{Tensor(weight_values_->data, compute, {100, c.in}), Tensor()},
                                {Tensor(weight_values_->as<char>() + skip, compute, {201, c.in}),
                                 Tensor(bias_->as<float>() + 100, DType::kF32, {201})}};
    auto whole = ops().PackLinear(*weight_values_, *bias_, compute);
    auto joined = ops().PackLinear(parts, compute);
    ASSERT_TRUE(whole.ok() && joined.ok()) << joined.status();
    EXPECT_EQ((*joined)->out_features(), 301);
    OwnedBatch batch({30});
    OwnedTensor x(DType::kF32, {30, c.in});
    x.Fill(random_);
    OwnedTensor expected(DType::kF32, {30, c.out});
    OwnedTensor out(DType::kF32, {30, c.out});
    LinearArgs args{.x = *x, .weight = whole->get(), .out = *expected};
    ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
    args.weight = joined->get();
    args.out = *out;
    ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
    EXPECT_EQ(out.Rows(0, 30), expected.Rows(0, 30));
  }
}

// What is stored as bf16 and computed in f32 has the bits of the same numbers stored as f32.
TEST_F(LinearTest, Bf16WeightsGiveTheBitsOfF32Weights) {
  for (const auto& [in, out] : std::vector<std::array<int64_t, 2>>{{300, 271}, {1, 1}, {513, 40}}) {
    OwnedTensor half(DType::kBf16, {out, in});
    half.Fill(random_);
    OwnedTensor full(DType::kF32, {out, in});
    for (int64_t i = 0; i < half->size(); ++i) full.Set(i, half.Get(i));
    // Weights lie where a file has them: at any address.
    std::vector<char> unaligned(half->bytes() + 1);
    std::memcpy(unaligned.data() + 1, half->data, half->bytes());
    auto from_half = ops().PackLinear(Tensor(unaligned.data() + 1, DType::kBf16, {out, in}),
                                      Tensor(), DType::kF32);
    auto from_full = ops().PackLinear(*full, Tensor(), DType::kF32);
    ASSERT_TRUE(from_half.ok() && from_full.ok());
    for (const int rows : {1, 7, 13, 96, 130}) {
      OwnedBatch batch({rows});
      OwnedTensor x(DType::kF32, {rows, in});
      x.Fill(random_);
      OwnedTensor expected(DType::kF32, {rows, out});
      OwnedTensor result(DType::kF32, {rows, out});
      LinearArgs args{.x = *x, .weight = from_full->get(), .out = *expected};
      ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
      args.weight = from_half->get();
      args.out = *result;
      ASSERT_TRUE(ops().Linear(args, *batch, *stream_).ok());
      EXPECT_EQ(result.Rows(0, rows), expected.Rows(0, rows))
          << rows << " x " << in << " x " << out;
    }
  }
}

// The promise that everything above rests on: a row's bits do not depend on how many rows there
// are, where it lies, what its neighbours hold, or how many threads share the work.
TEST_F(LinearTest, RowsKeepTheirBits) {
  for (const DType compute : ComputeTypes()) {
    const Case c{.in = 520, .out = 392, .compute = compute, .activation = Activation::kGeluTanh};
    MakeWeight(ops(), c);
    constexpr int kRows = 5;
    OwnedTensor rows(DType::kF32, {kRows, c.in});
    rows.Fill(random_);
    std::vector<uint8_t> expected;
    for (const int total : {5, 6, 12, 31, 32, 33, 64, 96, 97, 130, 200, 289}) {
      for (const int begin : {0, 1, 11, 60, 95, 100, 150, 284}) {
        if (begin + kRows > total) continue;
        OwnedBatch batch({total}, 3);
        OwnedTensor x(DType::kF32, {(*batch).capacity, c.in});
        x.FillRows(random_, 0, total, 100.0f);
        x.SetRows(begin, rows.Rows(0, kRows));
        for (const int threads : {1, 2, 3}) {
          auto weight = OpsWith(threads).PackLinear(*weight_values_, *bias_, compute);
          ASSERT_TRUE(weight.ok());
          OwnedTensor out(DType::kF32, {(*batch).capacity, c.out});
          const LinearArgs args{
              .x = *x, .weight = weight->get(), .activation = c.activation, .out = *out};
          ASSERT_TRUE(OpsWith(threads).Linear(args, *batch, *stream_).ok());
          const auto bits = out.Rows(begin, begin + kRows);
          if (expected.empty()) expected = bits;
          ASSERT_EQ(bits, expected) << total << " rows, at " << begin << ", " << threads
                                    << " threads, compute " << int(compute);
        }
      }
    }
  }
}

// And a single row alone has the bits that it has among others.
TEST_F(LinearTest, OneRowAloneHasTheSameBits) {
  for (const DType compute : ComputeTypes()) {
    const Case c{.in = 384, .out = 300, .compute = compute};
    MakeWeight(ops(), c);
    OwnedBatch many({150});
    OwnedTensor x(DType::kF32, {150, c.in});
    x.Fill(random_);
    OwnedTensor out(DType::kF32, {150, c.out});
    LinearArgs args{.x = *x, .weight = weight_.get(), .out = *out};
    ASSERT_TRUE(ops().Linear(args, *many, *stream_).ok());
    OwnedBatch one({1});
    OwnedTensor alone_x(DType::kF32, {1, c.in});
    OwnedTensor alone(DType::kF32, {1, c.out});
    for (const int row : {0, 13, 95, 96, 149}) {
      alone_x.SetRows(0, x.Rows(row, row + 1));
      args.x = *alone_x;
      args.out = *alone;
      ASSERT_TRUE(ops().Linear(args, *one, *stream_).ok());
      EXPECT_EQ(alone.Rows(0, 1), out.Rows(row, row + 1)) << "row " << row;
    }
  }
}

TEST_F(LinearTest, PaddingRowsAreNotWritten) {
  const Case c;
  MakeWeight(ops(), c);
  OwnedBatch batch({10}, 90);
  OwnedTensor x(DType::kF32, {100, c.in});
  x.FillRows(random_, 0, 10);
  OwnedTensor out(DType::kF32, {100, c.out});
  const auto before = out.Rows(10, 100);
  ASSERT_TRUE(ops().Linear({.x = *x, .weight = weight_.get(), .out = *out}, *batch, *stream_).ok());
  EXPECT_EQ(out.Rows(10, 100), before);
}

TEST_F(LinearTest, RefusesWhatDoesNotFit) {
  const Case c;
  MakeWeight(ops(), c);
  OwnedBatch batch({10});
  OwnedTensor x(DType::kF32, {10, c.in});
  OwnedTensor out(DType::kF32, {10, c.out});
  OwnedTensor narrow(DType::kF32, {10, c.out - 1});
  const LinearArgs good{.x = *x, .weight = weight_.get(), .out = *out};
  const auto refused = [&](const LinearArgs& args, const PackedBatch& packed) {
    const absl::Status status = ops().Linear(args, packed, *stream_);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  LinearArgs args = good;
  args.x = *out;
  EXPECT_EQ(refused(args, *batch), "Linear: x is [10, 80], must be [10, 96]");
  args = good;
  args.out = *narrow;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("out is [10, 79]"));
  args = good;
  args.weight = nullptr;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("weight is missing"));
  args = good;
  args.out.dtype = DType::kF16;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("must be f32 or bf16"));
  args = good;
  args.out_stride = 79;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("out_stride is less than out_features"));
  args = good;
  args.factor = *out;
  args.residual = *out;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("factor goes not with"));
  args.residual = Tensor();
  args.out_stride = 81;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("factor is out, so out_stride must be"));
  args = good;
  args.gate = *out;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("gate is [10, 80], must be [1, 80]"));

  const int32_t adapters = 1;
  batch.mutable_batch().adapter_count = &adapters;
  const absl::Status with_adapters = ops().Linear(good, *batch, *stream_);
  EXPECT_EQ(with_adapters.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ErrorReason(with_adapters), "ADAPTERS_NOT_ON_CPU");
  batch.mutable_batch().adapter_count = nullptr;

  batch.live_rows() = 11;
  EXPECT_THAT(refused(good, *batch), ::testing::HasSubstr("live_rows is 11, must be 0 to 10"));
  batch.live_rows() = 10;
  OwnedTensor gate(DType::kF32, {1, c.out});
  gate.Fill(random_);
  args = good;
  args.gate = *gate;
  batch.row_to_sequence()[4] = 1;
  EXPECT_THAT(refused(args, *batch), ::testing::HasSubstr("row_to_sequence[4] is 1"));
}

TEST_F(LinearTest, PackRefusesWhatDoesNotFit) {
  OwnedTensor weight(DType::kF32, {4, 8});
  OwnedTensor bias(DType::kF32, {5});
  EXPECT_EQ(ops().PackLinear(*weight, *bias, DType::kF32).status().message(),
            "PackLinear: bias must be f32, bf16 or f16 [4]");
  EXPECT_FALSE(ops().PackLinear(*weight, Tensor(), DType::kU8).ok());
  EXPECT_FALSE(ops().PackLinear(*bias, Tensor(), DType::kF32).ok());
  OwnedTensor wide(DType::kF32, {4, 9});
  const LinearPart parts[] = {{*weight, Tensor()}, {*wide, Tensor()}};
  EXPECT_EQ(ops().PackLinear(parts, DType::kF32).status().message(),
            "PackLinear: a part has 9 in_features, the first 8");
  EXPECT_FALSE(ops().PackLinear(absl::Span<const LinearPart>(), DType::kF32).ok());
}

TEST_F(LinearTest, TakesHalfPrecisionWeights) {
  // 1, -2, 0.5, and the smallest f16 denormal.
  const uint16_t values[] = {0x3c00, 0xc000, 0x3800, 0x0001};
  const Tensor weight(const_cast<uint16_t*>(values), DType::kF16, {4, 1});
  auto packed = ops().PackLinear(weight, Tensor(), DType::kF32);
  ASSERT_TRUE(packed.ok());
  OwnedBatch batch({1});
  OwnedTensor x(DType::kF32, {1, 1});
  x.Set(0, 1.0f);
  OwnedTensor out(DType::kF32, {1, 4});
  ASSERT_TRUE(ops().Linear({.x = *x, .weight = packed->get(), .out = *out}, *batch, *stream_).ok());
  EXPECT_EQ(out.Get(0), 1.0f);
  EXPECT_EQ(out.Get(1), -2.0f);
  EXPECT_EQ(out.Get(2), 0.5f);
  EXPECT_EQ(out.Get(3), std::ldexp(1.0f, -24));
}

}  // namespace
}  // namespace darkroom
