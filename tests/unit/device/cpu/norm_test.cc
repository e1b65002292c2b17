#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

class LayerNormTest : public OpsTest {
 protected:
  // Two sequences, modulation rows inside wider ones, poisoned padding.
  double Error(int rows, int64_t dim, DType dtype, float mean, bool modulated) {
    const int first = rows / 2;
    OwnedBatch batch({first, rows - first}, 4);
    OwnedTensor x(dtype, {(*batch).capacity, dim});
    x.FillRows(random_, 0, rows, 1.0f, mean);
    OwnedTensor modulation(DType::kF32, {2, 6 * dim});
    modulation.Fill(random_);
    OwnedTensor out(dtype, {(*batch).capacity, dim});
    LayerNormModulateArgs args;
    args.x = *x;
    args.out = *out;
    if (modulated) {
      args.shift = Tensor(modulation->as<float>() + dim, DType::kF32, {2, dim});
      args.scale = Tensor(modulation->as<float>() + 2 * dim, DType::kF32, {2, dim});
      args.modulation_stride = 6 * dim;
    }
    const absl::Status status = ops().LayerNormModulate(args, *batch, *stream_);
    EXPECT_TRUE(status.ok()) << status;
    RelativeError error;
    for (int r = 0; r < rows; ++r) {
      double sum = 0.0;
      double squares = 0.0;
      for (int64_t i = 0; i < dim; ++i) sum += x.Get(r * dim + i);
      for (int64_t i = 0; i < dim; ++i) {
        squares += (x.Get(r * dim + i) - sum / dim) * (x.Get(r * dim + i) - sum / dim);
      }
      const int64_t at = (r < first ? 0 : 6 * dim);
      for (int64_t i = 0; i < dim; ++i) {
        double y = (x.Get(r * dim + i) - sum / dim) / std::sqrt(squares / dim + args.epsilon);
        if (modulated) {
          y = y * (1.0 + modulation.Get(at + 2 * dim + i)) + modulation.Get(at + dim + i);
        }
        error.Add(out.Get(r * dim + i), y);
      }
    }
    return error.value();
  }
};

TEST_F(LayerNormTest, MatchesFloat64) {
  for (const int rows : {1, 2, 7, 63, 64, 65, 257}) {
    EXPECT_LT(Error(rows, 96, DType::kF32, 0.0f, true), 1e-6) << rows;
  }
  for (const int64_t dim : {2, 3, 17, 384, 1000, 1152, 1153, 3072}) {
    EXPECT_LT(Error(9, dim, DType::kF32, 0.0f, true), 1e-6) << dim;
    EXPECT_LT(Error(9, dim, DType::kF32, 0.0f, false), 1e-6) << dim;
    EXPECT_LT(Error(9, dim, DType::kBf16, 0.0f, true), 2.5e-3) << dim;
  }
}

TEST_F(LayerNormTest, KeepsItsAccuracyFarFromZero) {
  // The mean is a thousand deviations away; what is left of x in f32 bounds the result.
  EXPECT_LT(Error(5, 1152, DType::kF32, 1000.0f, false), 1e-4);
}

TEST_F(LayerNormTest, RowsKeepTheirBits) {
  constexpr int64_t kDim = 200;
  OwnedTensor row(DType::kF32, {1, kDim});
  row.Fill(random_);
  OwnedTensor shift(DType::kF32, {3, kDim});
  shift.Fill(random_);
  OwnedTensor scale(DType::kF32, {3, kDim});
  scale.Fill(random_);
  std::vector<uint8_t> expected;
  for (const int total : {1, 4, 200, 999}) {
    OwnedBatch batch({0, total, 0});
    for (const int at : {0, 3, 163, 998}) {
      if (at >= total) continue;
      OwnedTensor x(DType::kF32, {total, kDim});
      x.Fill(random_, 50.0f);
      x.SetRows(at, row.Rows(0, 1));
      for (const int threads : {1, 2, 3}) {
        OwnedTensor out(DType::kF32, {total, kDim});
        LayerNormModulateArgs args;
        args.x = *x;
        args.shift = *shift;
        args.scale = *scale;
        args.out = *out;
        ASSERT_TRUE(OpsWith(threads).LayerNormModulate(args, *batch, *stream_).ok());
        if (expected.empty()) expected = out.Rows(at, at + 1);
        ASSERT_EQ(out.Rows(at, at + 1), expected) << at << " of " << total;
      }
    }
  }
}

TEST_F(LayerNormTest, MayWorkInPlace) {
  OwnedBatch batch({20});
  OwnedTensor x(DType::kF32, {20, 77});
  x.Fill(random_);
  OwnedTensor out(DType::kF32, {20, 77});
  LayerNormModulateArgs args;
  args.x = *x;
  args.out = *out;
  ASSERT_TRUE(ops().LayerNormModulate(args, *batch, *stream_).ok());
  args.out = *x;
  ASSERT_TRUE(ops().LayerNormModulate(args, *batch, *stream_).ok());
  EXPECT_EQ(x.Rows(0, 20), out.Rows(0, 20));
}

TEST_F(LayerNormTest, RefusesWhatDoesNotFit) {
  OwnedBatch batch({20});
  OwnedTensor x(DType::kF32, {20, 77});
  OwnedTensor wide(DType::kF32, {20, 78});
  LayerNormModulateArgs args;
  args.x = *x;
  args.out = *wide;
  EXPECT_EQ(ops().LayerNormModulate(args, *batch, *stream_).message(),
            "LayerNormModulate: out is [20, 78], must be [20, 77]");
  args.out = *x;
  args.shift = *x;
  EXPECT_EQ(ops().LayerNormModulate(args, *batch, *stream_).message(),
            "LayerNormModulate: shift is [20, 77], must be [1, 77]");
}

class NormTest : public OpsTest {
 protected:
  double Error(int rows, int64_t dim, DType dtype, bool rms, bool biased) {
    OwnedBatch batch({rows}, 3);
    OwnedTensor x(dtype, {rows + 3, dim});
    x.FillRows(random_, 0, rows, 1.0f, 0.5f);
    OwnedTensor weight(DType::kF32, {dim});
    weight.Fill(random_);
    OwnedTensor bias(DType::kF32, {dim});
    bias.Fill(random_);
    OwnedTensor out(dtype, {rows + 3, dim});
    NormArgs args{.x = *x, .weight = *weight, .epsilon = 1e-5f, .rms = rms, .out = *out};
    if (biased) args.bias = *bias;
    const absl::Status status = ops().Norm(args, *batch, *stream_);
    EXPECT_TRUE(status.ok()) << status;
    RelativeError error;
    for (int r = 0; r < rows; ++r) {
      double mean = 0.0;
      for (int64_t i = 0; i < dim && !rms; ++i) mean += x.Get(r * dim + i) / dim;
      double squares = 0.0;
      for (int64_t i = 0; i < dim; ++i) squares += std::pow(x.Get(r * dim + i) - mean, 2);
      for (int64_t i = 0; i < dim; ++i) {
        const double y =
            (x.Get(r * dim + i) - mean) / std::sqrt(squares / dim + 1e-5) * weight.Get(i);
        error.Add(out.Get(r * dim + i), y + (biased ? bias.Get(i) : 0.0));
      }
    }
    EXPECT_TRUE(std::isnan(out.Get(rows * dim))) << "padding is not written";
    return error.value();
  }
};

TEST_F(NormTest, MatchesFloat64) {
  for (const bool rms : {false, true}) {
    for (const bool biased : {false, true}) {
      for (const int64_t dim : {2, 17, 768, 1153, 4096}) {
        EXPECT_LT(Error(9, dim, DType::kF32, rms, biased), 1e-6) << dim;
        EXPECT_LT(Error(9, dim, DType::kBf16, rms, biased), 2.5e-3) << dim;
      }
    }
  }
}

TEST_F(NormTest, RefusesWhatDoesNotFit) {
  OwnedBatch batch({20});
  OwnedTensor x(DType::kF32, {20, 77});
  OwnedTensor weight(DType::kF32, {78});
  NormArgs args{.x = *x, .out = *x};
  EXPECT_EQ(ops().Norm(args, *batch, *stream_).message(), "Norm: weight is missing");
  args.weight = *weight;
  EXPECT_EQ(ops().Norm(args, *batch, *stream_).message(), "Norm: weight is [78], must be [77]");
}

class QkNormRopeTest : public OpsTest {
 protected:
  struct Inputs {
    Inputs(std::mt19937& random, int64_t rows, int64_t heads_in, int64_t head_dim_in, DType dtype,
           int64_t gap)
        : heads(heads_in),
          head_dim(head_dim_in),
          stride(3 * heads_in * head_dim_in + gap),
          buffer(dtype, {rows, stride}),
          q_weight(DType::kF32, {head_dim_in}),
          k_weight(DType::kF32, {head_dim_in}),
          cos(DType::kF32, {rows, head_dim_in / 2}),
          sin(DType::kF32, {rows, head_dim_in / 2}) {
      buffer.Fill(random);
      q_weight.Fill(random);
      k_weight.Fill(random);
      for (int64_t i = 0; i < cos->size(); ++i) {
        cos.Set(i, std::cos(0.37f * static_cast<float>(i)));
        sin.Set(i, std::sin(0.37f * static_cast<float>(i)));
      }
    }
    QkNormRopeArgs Args(bool norm, bool rope) const {
      QkNormRopeArgs args;
      args.qkv = Tensor(buffer->data, buffer->dtype, {buffer->dims[0], 3, heads, head_dim});
      args.row_stride = stride;
      if (norm) args.q_weight = *q_weight;
      if (norm) args.k_weight = *k_weight;
      if (rope) args.cos = *cos;
      if (rope) args.sin = *sin;
      return args;
    }
    int64_t heads, head_dim, stride;
    OwnedTensor buffer, q_weight, k_weight, cos, sin;
  };

  // Largest distance from the definition, over `rows` rows; v, the gaps and padding keep their
  // bits.
  static double Distance(const Inputs& before, const Inputs& after, int64_t rows, bool norm,
                         bool rope) {
    double worst = 0.0;
    const int64_t half = before.heads * before.head_dim;
    for (int64_t i = 0; i < before.buffer->size(); ++i) {
      const int64_t row = i / before.stride;
      const int64_t column = i % before.stride;
      if (row >= rows || column >= 2 * half) {
        if (before.buffer.Get(i) != after.buffer.Get(i)) return 1e9;
        continue;
      }
      const OwnedTensor& weight = column < half ? before.q_weight : before.k_weight;
      const int64_t d = column % before.head_dim;
      double square = 0.0;
      for (int64_t j = 0; j < before.head_dim; ++j) {
        square += std::pow(before.buffer.Get(i - d + j), 2);
      }
      const double factor = 1.0 / std::sqrt(square / before.head_dim + 1e-6);
      const auto normed = [&](int64_t j) {
        return before.buffer.Get(i - d + j) * (norm ? factor * weight.Get(j) : 1.0);
      };
      double y = normed(d);
      if (rope) {
        const int64_t angle = row * (before.head_dim / 2) + d / 2;
        y = d % 2 == 0 ? y * before.cos.Get(angle) - normed(d + 1) * before.sin.Get(angle)
                       : y * before.cos.Get(angle) + normed(d - 1) * before.sin.Get(angle);
      }
      worst = std::max(worst, std::abs(after.buffer.Get(i) - y) / (1.0 + std::abs(y)));
    }
    return worst;
  }
};

TEST_F(QkNormRopeTest, FollowsItsDefinition) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const int64_t head_dim : {2, 10, 64, 72, 128}) {
      for (const bool norm : {false, true}) {
        for (const bool rope : {false, true}) {
          OwnedBatch batch({13, 20}, 5);
          const Inputs before(random_, 38, 3, head_dim, dtype, 7);
          const Inputs after = before;
          ASSERT_TRUE(ops().QkNormRope(after.Args(norm, rope), *batch, *stream_).ok());
          EXPECT_LT(Distance(before, after, 33, norm, rope), dtype == DType::kF32 ? 2e-6 : 5e-3)
              << head_dim << norm << rope;
        }
      }
    }
  }
}

TEST_F(QkNormRopeTest, RowsKeepTheirBits) {
  const Inputs all(random_, 200, 4, 40, DType::kF32, 0);
  const Inputs alone = [&] {
    Inputs one(random_, 1, 4, 40, DType::kF32, 0);
    one.q_weight = all.q_weight;
    one.k_weight = all.k_weight;
    one.buffer.SetRows(0, all.buffer.Rows(150, 151));
    one.cos.SetRows(0, all.cos.Rows(150, 151));
    one.sin.SetRows(0, all.sin.Rows(150, 151));
    return one;
  }();
  OwnedBatch many({200});
  OwnedBatch single({1});
  ASSERT_TRUE(OpsWith(3).QkNormRope(all.Args(true, true), *many, *stream_).ok());
  ASSERT_TRUE(OpsWith(1).QkNormRope(alone.Args(true, true), *single, *stream_).ok());
  EXPECT_EQ(all.buffer.Rows(150, 151), alone.buffer.Rows(0, 1));
}

TEST_F(QkNormRopeTest, RefusesWhatDoesNotFit) {
  OwnedBatch batch({10});
  const Inputs in(random_, 10, 2, 15, DType::kF32, 0);
  const auto message = [&](const QkNormRopeArgs& args) {
    return std::string(ops().QkNormRope(args, *batch, *stream_).message());
  };
  EXPECT_EQ(message(in.Args(true, false)), "");
  EXPECT_EQ(message(in.Args(true, true)), "QkNormRope: head_dim must be even for a rotation");
  QkNormRopeArgs args = in.Args(true, false);
  args.row_stride = 89;
  EXPECT_THAT(message(args), ::testing::HasSubstr("row_stride is less than"));
  args = in.Args(true, false);
  args.k_weight = *in.cos;
  EXPECT_EQ(message(args), "QkNormRope: k_weight is [10, 7], must be [15]");
}

class GroupNormTest : public OpsTest {
 protected:
  struct Inputs {
    Inputs(std::mt19937& random, DType dtype, int64_t height, int64_t width, int64_t channels,
           float mean)
        : x(dtype, {height, width, channels}),
          gamma(DType::kF32, {channels}),
          beta(DType::kF32, {channels}),
          out(dtype, {height, width, channels}) {
      x.Fill(random, 1.0f, mean);
      gamma.Fill(random);
      beta.Fill(random);
    }
    GroupNormArgs Args(int groups, bool silu) const {
      GroupNormArgs args;
      args.x = *x;
      args.gamma = *gamma;
      args.beta = *beta;
      args.groups = groups;
      args.silu = silu;
      args.out = *out;
      return args;
    }
    OwnedTensor x, gamma, beta, out;
  };

  double Error(const Inputs& in, int groups, bool silu) {
    const GroupNormArgs args = in.Args(groups, silu);
    const absl::Status status = ops().GroupNorm(args, *stream_);
    EXPECT_TRUE(status.ok()) << status;
    const int64_t channels = args.x.dims[2];
    const int64_t pixels = args.x.dims[0] * args.x.dims[1];
    const int64_t per_group = channels / groups;
    RelativeError error;
    for (int64_t g = 0; g < groups; ++g) {
      double sum = 0.0;
      double squares = 0.0;
      const auto each = [&](auto&& visit) {
        for (int64_t p = 0; p < pixels; ++p) {
          for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) visit(p * channels + c, c);
        }
      };
      each([&](int64_t i, int64_t) { sum += in.x.Get(i); });
      const double mean = sum / (pixels * per_group);
      each([&](int64_t i, int64_t) { squares += (in.x.Get(i) - mean) * (in.x.Get(i) - mean); });
      const double deviation = std::sqrt(squares / (pixels * per_group) + args.epsilon);
      each([&](int64_t i, int64_t c) {
        double y = (in.x.Get(i) - mean) / deviation * in.gamma.Get(c) + in.beta.Get(c);
        if (silu) y = y / (1.0 + std::exp(-y));
        error.Add(in.out.Get(i), y);
      });
    }
    return error.value();
  }
};

TEST_F(GroupNormTest, MatchesFloat64) {
  for (const bool silu : {false, true}) {
    // Groups of one value: no variance, so epsilon alone magnifies what rounding leaves of x -
    // mean.
    EXPECT_LT(Error(Inputs(random_, DType::kF32, 1, 1, 32, 0.0f), 32, silu), 2e-3);
    EXPECT_LT(Error(Inputs(random_, DType::kF32, 5, 7, 64, 0.0f), 32, silu), 1e-6);
    EXPECT_LT(Error(Inputs(random_, DType::kF32, 16, 16, 96, 3.0f), 8, silu), 1e-6);
    EXPECT_LT(Error(Inputs(random_, DType::kF32, 33, 31, 30, 0.0f), 5, silu), 1e-6);
    EXPECT_LT(Error(Inputs(random_, DType::kF32, 20, 13, 7, 0.0f), 1, silu), 1e-6);
    EXPECT_LT(Error(Inputs(random_, DType::kBf16, 20, 20, 64, 0.0f), 32, silu), 2.5e-3);
  }
}

TEST_F(GroupNormTest, KeepsItsAccuracyFarFromZero) {
  EXPECT_LT(Error(Inputs(random_, DType::kF32, 40, 40, 32, 300.0f), 8, false), 1e-4);
}

TEST_F(GroupNormTest, BitsDoNotDependOnThreads) {
  const Inputs in(random_, DType::kF32, 61, 47, 96, 1.0f);
  std::vector<uint8_t> expected;
  for (const int threads : {1, 2, 3}) {
    ASSERT_TRUE(OpsWith(threads).GroupNorm(in.Args(32, true), *stream_).ok());
    if (expected.empty()) expected = in.out.Rows(0, 61);
    EXPECT_EQ(in.out.Rows(0, 61), expected);
  }
}

TEST_F(GroupNormTest, RefusesWhatDoesNotFit) {
  const Inputs in(random_, DType::kF32, 4, 4, 96, 1.0f);
  EXPECT_EQ(ops().GroupNorm(in.Args(36, true), *stream_).message(),
            "GroupNorm: groups must divide the channels");
  EXPECT_EQ(ops().GroupNorm(in.Args(0, true), *stream_).message(),
            "GroupNorm: groups is 0, must be 1 to 96");
}

}  // namespace
}  // namespace darkroom
