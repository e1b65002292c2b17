#include "device/cuda/bound_adapters.h"

#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "device/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/device/cuda/cuda_fixture.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kIn = 24;
constexpr int64_t kOut = 20;  // two parts
constexpr int64_t kFirstPart = 12;
constexpr int kRows = 9;

// Products of two parts, one of which an adapter may leave alone.
class BoundAdaptersTest : public CudaOpsTest {
 protected:
  void Pack(DType compute) {
    weight_ = Random(DType::kF32, {kOut, kIn});
    const LinearPart parts[] = {
        {Tensor(weight_->data, DType::kF32, {kFirstPart, kIn}), Tensor()},
        {Tensor(weight_->as<float>() + kFirstPart * kIn, DType::kF32, {kOut - kFirstPart, kIn}),
         Tensor()}};
    packed_ = *ops_->PackLinear(parts, compute);
  }

  // x W^T on the device with these ranges.
  OwnedTensor Multiply(const OwnedTensor& x, const std::vector<AdapterRange>& ranges) {
    const OwnedBatch batch({kRows}, /*padding=*/2);
    PackedBatch device = OnDevice(*batch);
    const auto count = static_cast<int32_t>(ranges.size());
    device.adapters = Table(ranges.data(), ranges.size());
    device.adapter_count = Table(&count, 1);
    device.adapter_levels = 2;
    const Tensor out = OnDevice(*Random(DType::kF32, {kRows + 2, kOut}));
    const absl::Status status =
        ops_->Linear({.x = OnDevice(*x), .weight = packed_.get(), .out = out}, device, *stream_);
    EXPECT_TRUE(status.ok()) << status;
    return Back(out, {kRows + 2, kOut});
  }

  // Row `row` by a weight that the adapter was merged into.
  static void AddMerged(const OwnedTensor& x, const AdapterPart& part, int64_t first_column,
                        int row, float weight, std::vector<double>& out) {
    for (int64_t column = 0; column < part.up.dims[0]; ++column) {
      for (int64_t r = 0; r < part.down.dims[0]; ++r) {
        double low = 0.0;
        for (int64_t k = 0; k < kIn; ++k) {
          low += double{x.Get(row * kIn + k)} * part.down.as<float>()[r * kIn + k];
        }
        out[static_cast<size_t>(first_column + column)] +=
            double{weight} * part.scale * low * part.up.as<float>()[column * part.up.dims[1] + r];
      }
    }
  }

  // Rank-kOut "up" that merges a whole weight.
  OwnedTensor Identity() {
    OwnedTensor identity(DType::kF32, {kOut, kOut});
    for (int64_t i = 0; i < kOut * kOut; ++i) identity.Set(i, i % (kOut + 1) == 0 ? 1.0f : 0.0f);
    return identity;
  }

  absl::Status Bind(int32_t adapter, const std::vector<AdapterPart>& parts) {
    return ops_->BindAdapter(*packed_, adapter, parts, *stream_);
  }

  OwnedTensor weight_;
  std::unique_ptr<LinearWeight> packed_;
};

TEST_F(BoundAdaptersTest, RowsOfEachRangeGetTheirOwnAdapters) {
  for (const DType compute : {DType::kF32, DType::kBf16}) {
    Pack(compute);
    const OwnedTensor first_down = Random(DType::kF32, {3, kIn}),
                      first_up = Random(DType::kF32, {kFirstPart, 3}),
                      second_down = Random(DType::kF32, {40, kIn}),
                      second_up = Random(DType::kF32, {kOut - kFirstPart, 40});
    const AdapterPart first{*first_down, *first_up, 0.5f};
    const AdapterPart second{*second_down, *second_up, 2.0f};
    ASSERT_TRUE(Bind(0, {first, {}}).ok());
    ASSERT_TRUE(Bind(7, {first, second}).ok());
    const OwnedTensor x = Random(DType::kF32, {kRows + 2, kIn});
    // Rows 0 and 1 have one, 4 to 8 both, one above the other.
    const std::vector<AdapterRange> ranges = {
        {0, 2, 7, 0, -1.0f}, {4, kRows, 0, 0, 1.0f}, {4, kRows, 7, 1, 0.25f}};
    const OwnedTensor got = Multiply(x, ranges);
    const OwnedTensor plain = Multiply(x, {});
    RelativeError error;
    for (int row = 0; row < kRows; ++row) {
      std::vector<double> want(kOut, 0.0);
      AddMerged(x, {*weight_, *Identity(), 1.0f}, 0, row, 1.0f, want);
      for (const AdapterRange& range : ranges) {
        if (row < range.row_begin || row >= range.row_end) continue;
        AddMerged(x, first, 0, row, range.weight, want);
        if (range.adapter == 7) AddMerged(x, second, kFirstPart, row, range.weight, want);
      }
      for (int64_t i = 0; i < kOut; ++i) {
        error.Add(got.Get(row * kOut + i), want[static_cast<size_t>(i)]);
        if (row == 2 || row == 3) {
          EXPECT_EQ(got.Get(row * kOut + i), plain.Get(row * kOut + i));
        }
      }
    }
    EXPECT_LE(error.value(), compute == DType::kF32 ? 2e-6 : 8e-3);
  }
}

TEST_F(BoundAdaptersTest, UnboundItIsAsIfItHadNeverBeen) {
  Pack(DType::kBf16);
  const OwnedTensor x = Random(DType::kF32, {kRows + 2, kIn});
  const OwnedTensor down = Random(DType::kF32, {2, kIn}), up = Random(DType::kF32, {kFirstPart, 2});
  const std::vector<AdapterRange> ranges = {{0, kRows, 3, 0, 1.0f}};
  const auto plain = Multiply(x, ranges).Rows(0, kRows);
  ASSERT_TRUE(Bind(3, {{*down, *up}, {}}).ok());
  const auto changed = Multiply(x, ranges).Rows(0, kRows);
  EXPECT_NE(changed, plain);
  // Another one beside it changes nothing, nor does the removal of one that is not there.
  ASSERT_TRUE(
      Bind(200,
           {{}, {*Random(DType::kF32, {50, kIn}), *Random(DType::kF32, {kOut - kFirstPart, 50})}})
          .ok());
  ASSERT_TRUE(Bind(99, {}).ok());
  EXPECT_EQ(Multiply(x, ranges).Rows(0, kRows), changed);
  ASSERT_TRUE(Bind(3, {}).ok());
  EXPECT_EQ(Multiply(x, ranges).Rows(0, kRows), plain);
}

TEST_F(BoundAdaptersTest, WithoutMemoryTheOldOneStays) {
  Pack(DType::kBf16);
  const OwnedTensor x = Random(DType::kF32, {kRows + 2, kIn});
  const std::vector<AdapterRange> ranges = {{0, kRows, 3, 0, 1.0f}};
  const auto random_part = [&](OwnedTensor& down, OwnedTensor& up, int64_t rank) {
    down = Random(DType::kF32, {rank, kIn});
    up = Random(DType::kF32, {kFirstPart, rank});
    return AdapterPart{*down, *up};
  };
  OwnedTensor down, up, other_down, other_up;
  ASSERT_TRUE(Bind(3, {random_part(down, up, 4), {}}).ok());
  const auto before = Multiply(x, ranges).Rows(0, kRows);
  int failures = 0;
  for (;; ++failures) {
    const int64_t objects = emulator::LiveObjects();
    emulator::FailAllocation(failures);
    const absl::Status status = Bind(3, {random_part(other_down, other_up, 5), {}});
    emulator::FailAllocation(-1);
    if (status.ok()) break;
    EXPECT_EQ(ErrorReason(status), "OUT_OF_DEVICE_MEMORY") << status;
    EXPECT_EQ(emulator::LiveObjects(), objects);
    buffers_.clear();
    EXPECT_EQ(Multiply(x, ranges).Rows(0, kRows), before) << failures;
    buffers_.clear();
    ASSERT_LT(failures, 20);
  }
  EXPECT_EQ(failures, 3);
  EXPECT_NE(Multiply(x, ranges).Rows(0, kRows), before);
}

TEST_F(BoundAdaptersTest, RefusesWhatFitsNot) {
  Pack(DType::kBf16);
  const OwnedTensor down = Random(DType::kF32, {4, kIn}), up = Random(DType::kF32, {kFirstPart, 4});
  const OwnedTensor wide = Random(DType::kF32, {kAdapterRankMax + 1, kIn}),
                    wide_up = Random(DType::kF32, {kFirstPart, kAdapterRankMax + 1});
  const AdapterPart good{*down, *up};
  const auto message = [&](int32_t adapter, const std::vector<AdapterPart>& parts) {
    const absl::Status status = Bind(adapter, parts);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(-1, {good, {}}), HasSubstr("adapter is -1, must be 0 to 255"));
  EXPECT_THAT(message(kAdaptersMax, {good, {}}), HasSubstr("must be 0 to 255"));
  EXPECT_THAT(message(0, {good}), HasSubstr("the adapter has 1 parts, the weight 2"));
  EXPECT_THAT(message(0, {{}, {}}), HasSubstr("changes no part"));
  EXPECT_THAT(message(0, {{}, good}), HasSubstr("up must be f32, bf16 or f16 [8, 4]"));
  EXPECT_THAT(message(0, {{*up, *up}, {}}), HasSubstr("down must be"));
  EXPECT_THAT(message(0, {{*wide, *wide_up}, {}}), HasSubstr("rank is 257, must be 1 to 256"));
  EXPECT_THAT(message(0, {{*down, *up, std::numeric_limits<float>::infinity()}, {}}),
              HasSubstr("scale must be finite"));
  // A batch whose tables are incomplete.
  const OwnedBatch batch({kRows});
  PackedBatch named = *batch;
  const AdapterRange range{};
  named.adapters = &range;
  const OwnedTensor x = Random(DType::kF32, {kRows, kIn}), out = Random(DType::kF32, {kRows, kOut});
  const LinearArgs args{.x = *x, .weight = packed_.get(), .out = *out};
  EXPECT_THAT(std::string(ops_->Linear(args, named, *stream_).message()),
              HasSubstr("adapter_count is missing"));
  const int32_t count = 1;
  named.adapter_count = &count;
  EXPECT_THAT(std::string(ops_->Linear(args, named, *stream_).message()),
              HasSubstr("adapter_levels is 0, must be 1 to 8"));
}

TEST_F(BoundAdaptersTest, TheCpuSaysThatItHasNone) {
  const OwnedTensor weight = Random(DType::kF32, {4, 4});
  const auto packed = *cpu_->PackLinear(*weight, Tensor(), DType::kF32);
  EXPECT_EQ(ErrorReason(cpu_->BindAdapter(*packed, 0, {}, *cpu_stream_)), "ADAPTERS_NOT_ON_CPU");
  const OwnedBatch batch({2});
  PackedBatch named = *batch;
  const AdapterRange range{0, 2, 0, 0, 1.0f};
  const int32_t count = 1;
  named.adapters = &range;
  named.adapter_count = &count;
  named.adapter_levels = 1;
  const OwnedTensor x = Random(DType::kF32, {2, 4}), out = Random(DType::kF32, {2, 4});
  EXPECT_EQ(ErrorReason(
                cpu_->Linear({.x = *x, .weight = packed.get(), .out = *out}, named, *cpu_stream_)),
            "ADAPTERS_NOT_ON_CPU");
}

}  // namespace
}  // namespace darkroom
