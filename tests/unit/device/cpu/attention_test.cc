#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

class AttentionTest : public OpsTest {
 protected:
  // q, k and v as slices of one projection, [capacity, 3, heads, head_dim].
  struct Projection {
    Projection(DType dtype, int64_t capacity, int64_t heads_in, int64_t head_dim_in)
        : heads(heads_in),
          head_dim(head_dim_in),
          values(dtype, {capacity, 3 * heads_in * head_dim_in}) {}
    Tensor Slice(int64_t which) const {
      return Tensor(values->as<char>() +
                        which * heads * head_dim * static_cast<int64_t>(ByteSize(values->dtype)),
                    values->dtype, {values->dims[0], heads, head_dim});
    }
    AttentionArgs Args(const OwnedTensor& out) const {
      AttentionArgs args;
      args.q = Slice(0);
      args.k = Slice(1);
      args.v = Slice(2);
      args.row_stride = 3 * heads * head_dim;
      args.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
      args.out = *out;
      return args;
    }
    float Get(int64_t row, int64_t which, int64_t head, int64_t d) const {
      return values.Get(((row * 3 + which) * heads + head) * head_dim + d);
    }
    int64_t heads;
    int64_t head_dim;
    OwnedTensor values;
  };

  static void AddReference(const Projection& p, double scale, int begin, int end,
                           const OwnedTensor& out, RelativeError& error) {
    std::vector<double> weights(end - begin);
    for (int64_t head = 0; head < p.heads; ++head) {
      for (int row = begin; row < end; ++row) {
        double best = -1e300;
        for (int key = begin; key < end; ++key) {
          double score = 0.0;
          for (int64_t d = 0; d < p.head_dim; ++d) {
            score += static_cast<double>(p.Get(row, 0, head, d)) * p.Get(key, 1, head, d);
          }
          weights[key - begin] = score * scale;
          best = std::max(best, score * scale);
        }
        double total = 0.0;
        for (double& weight : weights) total += weight = std::exp(weight - best);
        for (int64_t d = 0; d < p.head_dim; ++d) {
          double sum = 0.0;
          for (int key = begin; key < end; ++key) {
            sum += weights[key - begin] * p.Get(key, 2, head, d);
          }
          error.Add(out.Get((row * p.heads + head) * p.head_dim + d), sum / total);
        }
      }
    }
  }

  double Error(const std::vector<int>& lengths, int64_t heads, int64_t head_dim, DType dtype,
               DType out_dtype, float spread = 1.0f) {
    OwnedBatch batch(lengths, 9, 2);
    const int live = (*batch).live_rows[0];
    Projection p(dtype, (*batch).capacity, heads, head_dim);
    p.values.FillRows(random_, 0, live, spread);
    OwnedTensor out(out_dtype, {(*batch).capacity, heads, head_dim});
    const AttentionArgs args = p.Args(out);
    const absl::Status status = ops().Attention(args, *batch, *stream_);
    EXPECT_TRUE(status.ok()) << status;
    RelativeError error;
    for (size_t s = 0; s < lengths.size(); ++s) {
      AddReference(p, args.scale, batch.boundaries()[s], batch.boundaries()[s + 1], out, error);
    }
    return error.value();
  }
};

TEST_F(AttentionTest, MatchesFloat64OnRaggedSequences) {
  EXPECT_LT(Error({1, 2, 7, 0, 63, 64, 65}, 2, 64, DType::kF32, DType::kF32), 2e-6);
  EXPECT_LT(Error({255, 256, 257}, 1, 32, DType::kF32, DType::kF32), 2e-6);
  EXPECT_LT(Error({600}, 1, 128, DType::kF32, DType::kF32), 2e-6);
}

TEST_F(AttentionTest, MatchesFloat64ForAnyHeadDim) {
  for (const int64_t head_dim : {1, 3, 16, 40, 72, 80, 88, 96, 160, 255, 512, 1024}) {
    EXPECT_LT(Error({97, 33}, 2, head_dim, DType::kF32, DType::kF32), 2e-6) << head_dim;
  }
}

TEST_F(AttentionTest, SurvivesLargeScores) {
  // Scores in the hundreds: the maximum jumps from block to block, most weights vanish.
  EXPECT_LT(Error({530}, 1, 64, DType::kF32, DType::kF32, 8.0f), 5e-5);
}

TEST_F(AttentionTest, ReadsAndWritesBf16) {
  // With AMX the weights too are rounded to bf16 before they meet the values.
  const bool amx = ops().Isa() == "avx512_core_amx";
  for (const int64_t head_dim : {1, 16, 31, 32, 33, 64, 72, 128, 512}) {
    EXPECT_LT(Error({1, 31, 33, 96, 97, 300}, 2, head_dim, DType::kBf16, DType::kF32),
              amx ? 2.5e-3 : 2e-6)
        << head_dim;
  }
  EXPECT_LT(Error({255, 256, 257, 600}, 1, 64, DType::kBf16, DType::kBf16), amx ? 4e-3 : 2.5e-3);
}

TEST_F(AttentionTest, SequencesKeepTheirBits) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    constexpr int kLength = 290;
    constexpr int64_t kHeads = 2;
    constexpr int64_t kHeadDim = 72;
    OwnedTensor sequence(dtype, {kLength, 3 * kHeads * kHeadDim});
    sequence.Fill(random_);
    std::vector<uint8_t> expected;
    for (const auto& lengths : std::vector<std::vector<int>>{
             {kLength}, {1, kLength}, {kLength, 700}, {33, 500, kLength, 2}, {0, kLength, 95}}) {
      OwnedBatch batch(lengths, 4, 1);
      const size_t place = std::find(lengths.begin(), lengths.end(), kLength) - lengths.begin();
      const int begin = batch.boundaries()[place];
      Projection p(dtype, (*batch).capacity, kHeads, kHeadDim);
      p.values.FillRows(random_, 0, (*batch).live_rows[0], 30.0f);
      p.values.SetRows(begin, sequence.Rows(0, kLength));
      for (const int threads : {1, 2, 3}) {
        OwnedTensor out(DType::kF32, {(*batch).capacity, kHeads, kHeadDim});
        ASSERT_TRUE(OpsWith(threads).Attention(p.Args(out), *batch, *stream_).ok());
        const auto bits = out.Rows(begin, begin + kLength);
        if (expected.empty()) expected = bits;
        ASSERT_EQ(bits, expected) << "sequence " << place << " of " << lengths.size() << ", "
                                  << threads << " threads";
      }
    }
  }
}

TEST_F(AttentionTest, ANaNStaysInItsSequence) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    OwnedBatch batch({40, 40});
    Projection p(dtype, 80, 1, 32);
    p.values.Fill(random_);
    p.values.Set(3 * 32 * 5 + 7, NAN);
    OwnedTensor out(DType::kF32, {80, 1, 32});
    ASSERT_TRUE(ops().Attention(p.Args(out), *batch, *stream_).ok());
    // The query that is not a number gives what is not a number: an overflow is not hidden.
    EXPECT_TRUE(std::isnan(out.Get(5 * 32)));
    for (int64_t i = 40 * 32; i < 80 * 32; ++i) ASSERT_TRUE(std::isfinite(out.Get(i)));
  }
}

TEST_F(AttentionTest, TakesAnyScale) {
  // Zero: the mean of the values. Negative: the least alike keys weigh most.
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const float scale : {0.0f, -0.2f}) {
      OwnedBatch batch({45});
      Projection p(dtype, 45, 1, 40);
      p.values.Fill(random_);
      OwnedTensor out(DType::kF32, {45, 1, 40});
      AttentionArgs args = p.Args(out);
      args.scale = scale;
      ASSERT_TRUE(ops().Attention(args, *batch, *stream_).ok());
      RelativeError error;
      AddReference(p, scale, 0, 45, out, error);
      EXPECT_LT(error.value(), dtype == DType::kBf16 ? 4e-3 : 2e-6) << scale;
    }
  }
}

TEST_F(AttentionTest, RefusesWhatDoesNotFit) {
  OwnedBatch batch({10, 10});
  Projection p(DType::kF32, 20, 2, 16);
  OwnedTensor out(DType::kF32, {20, 2, 16});
  const AttentionArgs good = p.Args(out);
  const auto refused = [&](const AttentionArgs& args) {
    const absl::Status status = ops().Attention(args, *batch, *stream_);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  AttentionArgs args = good;
  args.row_stride = 31;
  EXPECT_THAT(refused(args), ::testing::HasSubstr("row_stride"));
  args = good;
  args.v.dims[2] = 8;
  EXPECT_EQ(refused(args), "Attention: v is [20, 2, 8], must be [20, 2, 16]");
  args = good;
  args.out = args.q;
  EXPECT_THAT(refused(args), ::testing::HasSubstr("out must not be q, k or v"));
  args = good;
  args.scale = NAN;
  EXPECT_THAT(refused(args), ::testing::HasSubstr("scale"));
  batch.boundaries()[1] = 21;
  EXPECT_THAT(refused(good), ::testing::HasSubstr("boundaries[1] is 21, must be 0 to 20"));
  batch.boundaries()[1] = 10;
  batch.boundaries()[2] = 9;
  EXPECT_THAT(refused(good), ::testing::HasSubstr("boundaries[2] is 9, must be 10 to 20"));
}

}  // namespace
}  // namespace darkroom
