#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "testing/reference_ops.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

// Sequences of two runs of rows, causal attention, position biases and outputs with gaps, against
// the reference.
class AttentionJointTest : public OpsTest {
 protected:
  struct Sequence {
    int prefix;
    int rest;
  };

  // A batch whose second runs begin at `offset`, and `padding` rows behind them.
  class JointBatch {
   public:
    JointBatch(const std::vector<Sequence>& sequences, int offset, int padding) {
      int32_t prefix_row = 0;
      int32_t row = offset;
      prefixes_.push_back(prefix_row);
      boundaries_.push_back(row);
      for (const Sequence& sequence : sequences) {
        prefixes_.push_back(prefix_row += sequence.prefix);
        boundaries_.push_back(row += sequence.rest);
      }
      live_rows_ = row;
      live_sequences_ = static_cast<int32_t>(sequences.size());
      batch_.capacity = row + padding;
      batch_.sequences_max = live_sequences_;
      batch_.live_rows = &live_rows_;
      batch_.live_sequences = &live_sequences_;
      batch_.boundaries = boundaries_.data();
      batch_.prefix_boundaries = prefixes_.data();
    }
    JointBatch(const JointBatch&) = delete;
    JointBatch& operator=(const JointBatch&) = delete;
    const PackedBatch& operator*() const { return batch_; }
    // The buffer's rows of a sequence, in its order.
    std::vector<int64_t> Rows(size_t s) const {
      std::vector<int64_t> rows;
      for (int32_t r = prefixes_[s]; r < prefixes_[s + 1]; ++r) rows.push_back(r);
      for (int32_t r = boundaries_[s]; r < boundaries_[s + 1]; ++r) rows.push_back(r);
      return rows;
    }
    std::vector<int32_t>& prefixes() { return prefixes_; }

   private:
    std::vector<int32_t> prefixes_;
    std::vector<int32_t> boundaries_;
    int32_t live_rows_ = 0;
    int32_t live_sequences_ = 0;
    PackedBatch batch_;
  };

  // q, k and v interleaved, [capacity, 3, heads, head_dim]; rows of no sequence stay NaN.
  static AttentionArgs Args(const OwnedTensor& qkv, int64_t heads, int64_t head_dim,
                            const OwnedTensor& out) {
    const auto slice = [&](int64_t which) {
      return Tensor(
          qkv->as<char>() + which * heads * head_dim * static_cast<int64_t>(ByteSize(qkv->dtype)),
          qkv->dtype, {qkv->dims[0], heads, head_dim});
    };
    AttentionArgs args;
    args.q = slice(0);
    args.k = slice(1);
    args.v = slice(2);
    args.row_stride = 3 * heads * head_dim;
    args.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    args.out = *out;
    return args;
  }

  static void FillRow(OwnedTensor& tensor, int64_t row, std::mt19937& random) {
    tensor.FillRows(random, row, row + 1);
  }

  static Ops& reference() {
    static testing::ReferenceOps ops;
    return ops;
  }
};

TEST_F(AttentionJointTest, TwoRunsMatchTheReference) {
  const std::vector<Sequence> sequences = {{7, 20},  {0, 5},    {3, 0},   {100, 60}, {64, 256},
                                           {96, 96}, {256, 40}, {300, 1}, {0, 0},    {77, 500}};
  for (const int64_t head_dim : {64, 40}) {
    constexpr int64_t kHeads = 2;
    JointBatch batch(sequences, 920, 5);
    const int64_t capacity = (*batch).capacity;
    OwnedTensor qkv(DType::kF32, {capacity, 3 * kHeads * head_dim});
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (const int64_t row : batch.Rows(s)) FillRow(qkv, row, random_);
    }
    OwnedTensor out(DType::kF32, {capacity, kHeads, head_dim});
    OwnedTensor expected(DType::kF32, {capacity, kHeads, head_dim});
    ASSERT_TRUE(ops().Attention(Args(qkv, kHeads, head_dim, out), *batch, *stream_).ok());
    ASSERT_TRUE(
        reference().Attention(Args(qkv, kHeads, head_dim, expected), *batch, *stream_).ok());
    RelativeError error;
    for (int64_t i = 0; i < expected->size(); ++i) {
      // What belongs to no sequence is NaN in both: not written.
      if (std::isnan(expected.Get(i))) {
        ASSERT_TRUE(std::isnan(out.Get(i))) << i;
      } else {
        error.Add(out.Get(i), expected.Get(i));
      }
    }
    EXPECT_LT(error.value(), 2e-6);
  }
}

// The same rows as one run have the same bits: where they lie is nothing to them.
TEST_F(AttentionJointTest, TwoRunsHaveTheBitsOfOne) {
  constexpr int64_t kHeads = 2;
  constexpr int64_t kHeadDim = 72;
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const auto& [prefix, rest] :
         std::vector<Sequence>{{50, 100}, {256, 30}, {300, 290}, {33, 480}}) {
      OwnedTensor rows(dtype, {prefix + rest, 3 * kHeads * kHeadDim});
      rows.Fill(random_);
      OwnedTensor whole(dtype, {prefix + rest, kHeads, kHeadDim});
      OwnedBatch one({prefix + rest});
      ASSERT_TRUE(ops().Attention(Args(rows, kHeads, kHeadDim, whole), *one, *stream_).ok());
      for (const std::vector<Sequence>& mates :
           std::vector<std::vector<Sequence>>{{}, {{5, 5}}, {{40, 300}, {0, 9}}}) {
        std::vector<Sequence> sequences = mates;
        sequences.push_back({prefix, rest});
        sequences.push_back({11, 70});
        JointBatch batch(sequences, 600, 3);
        OwnedTensor qkv(dtype, {(*batch).capacity, 3 * kHeads * kHeadDim});
        for (size_t s = 0; s < sequences.size(); ++s) {
          for (const int64_t row : batch.Rows(s)) FillRow(qkv, row, random_);
        }
        const std::vector<int64_t> own = batch.Rows(mates.size());
        for (int i = 0; i < prefix + rest; ++i) qkv.SetRows(own[i], rows.Rows(i, i + 1));
        for (const int threads : {1, 3}) {
          OwnedTensor out(dtype, {(*batch).capacity, kHeads, kHeadDim});
          ASSERT_TRUE(
              OpsWith(threads).Attention(Args(qkv, kHeads, kHeadDim, out), *batch, *stream_).ok());
          for (int i = 0; i < prefix + rest; ++i) {
            ASSERT_EQ(out.Rows(own[i], own[i] + 1), whole.Rows(i, i + 1)) << i;
          }
        }
      }
    }
  }
}

TEST_F(AttentionJointTest, CausalAndBiasMatchTheReference) {
  constexpr int64_t kHeads = 3;
  constexpr int64_t kHeadDim = 64;
  constexpr int32_t kSpan = 620;
  OwnedTensor bias(DType::kF32, {kHeads, 2 * kSpan - 1});
  bias.Fill(random_, 2.0f);
  for (const bool causal : {false, true}) {
    for (const bool biased : {false, true}) {
      for (const DType dtype : {DType::kF32, DType::kBf16}) {
        OwnedBatch batch({1, 77, 13, 257, 620}, 4, 2);
        const int64_t capacity = (*batch).capacity;
        const int64_t live = (*batch).live_rows[0];
        OwnedTensor qkv(dtype, {capacity, 3 * kHeads * kHeadDim});
        qkv.FillRows(random_, 0, live);
        OwnedTensor wide(DType::kF32, {capacity, 3 * kHeads * kHeadDim});
        for (int64_t i = 0; i < live * 3 * kHeads * kHeadDim; ++i) wide.Set(i, qkv.Get(i));
        OwnedTensor out(DType::kF32, {capacity, kHeads, kHeadDim});
        OwnedTensor expected(DType::kF32, {capacity, kHeads, kHeadDim});
        AttentionArgs args = Args(qkv, kHeads, kHeadDim, out);
        args.causal = causal;
        args.position_bias = biased ? bias->as<float>() : nullptr;
        args.position_span = biased ? kSpan : 0;
        ASSERT_TRUE(ops().Attention(args, *batch, *stream_).ok());
        AttentionArgs reference_args = Args(wide, kHeads, kHeadDim, expected);
        reference_args.causal = causal;
        reference_args.position_bias = args.position_bias;
        reference_args.position_span = args.position_span;
        ASSERT_TRUE(reference().Attention(reference_args, *batch, *stream_).ok());
        RelativeError error;
        for (int64_t i = 0; i < live * kHeads * kHeadDim; ++i) {
          error.Add(out.Get(i), expected.Get(i));
        }
        // Only plain attention of bf16 may use bf16 products, where the machine has them.
        const bool native = dtype == DType::kBf16 && ops().Isa() == "avx512_core_amx";
        EXPECT_LT(error.value(), native && !causal && !biased ? 2.5e-3 : 3e-6)
            << causal << biased << int(dtype);
      }
    }
  }
}

// A causal query's bits do not depend on what comes behind it, be it in the next key block.
TEST_F(AttentionJointTest, CausalQueriesIgnoreWhatFollows) {
  constexpr int64_t kHeadDim = 32;
  OwnedTensor rows(DType::kF32, {600, 3 * kHeadDim});
  rows.Fill(random_);
  OwnedTensor whole(DType::kF32, {600, 1, kHeadDim});
  OwnedBatch all({600});
  AttentionArgs args = Args(rows, 1, kHeadDim, whole);
  args.causal = true;
  ASSERT_TRUE(ops().Attention(args, *all, *stream_).ok());
  for (int64_t i = 300 * 3 * kHeadDim; i < rows->size(); ++i) rows.Set(i, NAN);
  OwnedTensor head(DType::kF32, {600, 1, kHeadDim});
  args.out = *head;
  ASSERT_TRUE(ops().Attention(args, *all, *stream_).ok());
  // NaN times a weight of zero is NaN, so rows that share a block with a NaN are not compared.
  EXPECT_EQ(head.Rows(0, 96), whole.Rows(0, 96));
}

TEST_F(AttentionJointTest, WritesRowsApart) {
  constexpr int64_t kHeads = 2;
  constexpr int64_t kHeadDim = 24;
  JointBatch batch({{90, 100}, {10, 30}}, 100, 0);
  const int64_t capacity = (*batch).capacity;
  OwnedTensor qkv(DType::kF32, {capacity, 3 * kHeads * kHeadDim});
  qkv.Fill(random_);
  OwnedTensor dense(DType::kF32, {capacity, kHeads, kHeadDim});
  AttentionArgs args = Args(qkv, kHeads, kHeadDim, dense);
  ASSERT_TRUE(ops().Attention(args, *batch, *stream_).ok());
  const int64_t stride = kHeads * kHeadDim + 17;
  OwnedTensor wide(DType::kF32, {capacity, stride});
  args.out = Tensor(wide->data, DType::kF32, {capacity, kHeads, kHeadDim});
  args.out_stride = stride;
  ASSERT_TRUE(ops().Attention(args, *batch, *stream_).ok());
  for (int64_t row = 0; row < capacity; ++row) {
    for (int64_t i = 0; i < stride; ++i) {
      if (i < kHeads * kHeadDim) {
        ASSERT_EQ(wide.Get(row * stride + i), dense.Get(row * kHeads * kHeadDim + i));
      } else {
        ASSERT_TRUE(std::isnan(wide.Get(row * stride + i)));
      }
    }
  }
}

TEST_F(AttentionJointTest, RefusesWhatDoesNotFit) {
  JointBatch batch({{4, 6}, {5, 8}}, 10, 0);
  OwnedTensor qkv(DType::kF32, {(*batch).capacity, 3 * 16});
  qkv.Fill(random_);
  OwnedTensor out(DType::kF32, {(*batch).capacity, 1, 16});
  const AttentionArgs good = Args(qkv, 1, 16, out);
  const auto message = [&](const AttentionArgs& args) {
    return std::string(ops().Attention(args, *batch, *stream_).message());
  };
  EXPECT_EQ(message(good), "");
  AttentionArgs args = good;
  args.out_stride = 15;
  EXPECT_THAT(message(args), HasSubstr("out_stride is less than heads * head_dim"));
  std::vector<float> bias(2 * 12 - 1);
  args = good;
  args.position_bias = bias.data();
  EXPECT_THAT(message(args), HasSubstr("position_span is 0, must be 1 to"));
  args.position_span = 12;
  EXPECT_THAT(message(args), HasSubstr("sequence 1 has 13 rows, position_bias reaches over 12"));
  batch.prefixes()[2] = 11;
  EXPECT_THAT(message(good), HasSubstr("prefix_boundaries[2] is 11, must be 4 to 10"));
}

}  // namespace
}  // namespace darkroom
