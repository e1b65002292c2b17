#include "device/cpu/weight_arena.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "device/limits.h"
#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

using cpu::WeightArena;
using ::testing::HasSubstr;

// The segments as another process gets them: descriptors of its own.
SharedWeights Sent(const SharedWeights& weights) {
  SharedWeights sent{weights.layout, {}};
  for (const Payload& segment : weights.segments) {
    auto payload = Payload::AdoptMemfd(::dup(segment.fd()), segment.size());
    EXPECT_TRUE(payload.ok()) << payload.status();
    sent.segments.push_back(*payload);
  }
  return sent;
}

TEST(WeightArenaTest, WhatWasFilledIsFound) {
  WeightArena arena("cpu");
  auto first = arena.Allocate("a", 100);
  auto second = arena.Allocate("b", 5000);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->present());
  std::memset(first->data(), 1, 100);
  std::memset(second->data(), 2, 5000);
  auto filled = arena.Finish();
  ASSERT_TRUE(filled.ok()) << filled.status();
  ASSERT_EQ(filled->segments.size(), 1u);
  // Sealed, and the first process's own addresses still hold.
  EXPECT_EQ(static_cast<const char*>(second->data())[4999], 2);
  EXPECT_EQ(::ftruncate(filled->segments[0].fd(), 0), -1);
  EXPECT_EQ(::pwrite(filled->segments[0].fd(), "x", 1, 0), -1);

  auto sharing = WeightArena::Share("cpu", Sent(*filled));
  ASSERT_TRUE(sharing.ok()) << sharing.status();
  auto first_again = (*sharing)->Allocate("a", 100);
  auto second_again = (*sharing)->Allocate("b", 5000);
  ASSERT_TRUE(first_again.ok() && second_again.ok());
  EXPECT_TRUE(second_again->present());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(second_again->data()) % 64, 0u);
  EXPECT_EQ(std::memcmp(first_again->data(), first->data(), 100), 0);
  EXPECT_EQ(std::memcmp(second_again->data(), second->data(), 5000), 0);
  EXPECT_TRUE((*sharing)->Finish().ok());
}

TEST(WeightArenaTest, OtherCallsAreRefused) {
  WeightArena arena("cpu");
  ASSERT_TRUE(arena.Allocate("a", 100).ok());
  const auto filled = arena.Finish();
  ASSERT_TRUE(filled.ok());
  const auto reason = [&](const std::vector<std::pair<std::string, size_t>>& calls) {
    auto sharing = WeightArena::Share("cpu", Sent(*filled));
    EXPECT_TRUE(sharing.ok());
    for (const auto& [what, bytes] : calls) {
      const auto memory = (*sharing)->Allocate(what, bytes);
      if (!memory.ok()) return ErrorReason(memory.status());
    }
    return ErrorReason((*sharing)->Finish().status());
  };
  EXPECT_EQ(reason({{"a", 100}}), "");
  EXPECT_EQ(reason({{"b", 100}}), "SHARED_WEIGHTS_MISMATCH");
  EXPECT_EQ(reason({{"a", 99}}), "SHARED_WEIGHTS_MISMATCH");
  EXPECT_EQ(reason({{"a", 1000}}), "SHARED_WEIGHTS_MISMATCH");
  EXPECT_EQ(reason({{"a", 100}, {"a", 100}}), "SHARED_WEIGHTS_MISMATCH");
  EXPECT_EQ(reason({{"a", kWeightSegmentBytes + 1}}), "SHARED_WEIGHTS_MISMATCH");
  EXPECT_EQ(reason({}), "SHARED_WEIGHTS_MISMATCH");
  EXPECT_EQ(ErrorReason(WeightArena::Share("other", Sent(*filled)).status()),
            "SHARED_WEIGHTS_MISMATCH");
  EXPECT_EQ(ErrorReason(WeightArena::Share("cpu", SharedWeights()).status()),
            "SHARED_WEIGHTS_MISMATCH");
}

TEST(WeightArenaTest, LargePiecesGetSegmentsOfTheirOwn) {
  // Untouched pages of a memfd that are reserved do count, so this takes what it says, briefly.
  const auto run = [](WeightArena& arena) {
    const size_t half = kWeightSegmentBytes / 2;
    std::vector<void*> data;
    for (const size_t bytes : {half, half + 64, size_t{64}}) {
      auto memory = arena.Allocate("x", bytes);
      EXPECT_TRUE(memory.ok()) << memory.status();
      if (!memory.ok()) return;
      // The last of the first segment is written after the second was opened.
      data.push_back(memory->data());
      if (!memory->present()) {
        for (void* piece : data) *static_cast<char*>(piece) = 7;
      }
      EXPECT_EQ(*static_cast<char*>(memory->data()), 7);
    }
  };
  WeightArena arena("cpu");
  run(arena);
  const auto filled = arena.Finish();
  ASSERT_TRUE(filled.ok());
  ASSERT_EQ(filled->segments.size(), 2u);
  EXPECT_EQ(filled->segments[0].size(), kWeightSegmentBytes / 2);
  auto sharing = WeightArena::Share("cpu", Sent(*filled));
  ASSERT_TRUE(sharing.ok());
  run(**sharing);
  EXPECT_TRUE((*sharing)->Finish().ok());
}

class SharedOpsTest : public OpsTest {
 protected:
  struct Model {
    std::unique_ptr<LinearWeight> linear;
    std::unique_ptr<ConvWeight> conv;
    std::unique_ptr<DeviceBuffer> table;
  };
  // `values`: what the weights are read from; null memory would crash if it were read.
  static absl::Status Pack(Ops& ops, const Tensor& weight, const Tensor& kernel, DType compute,
                           Model& model) {
    auto linear = ops.PackLinear(weight, Tensor(), compute);
    if (!linear.ok()) return linear.status();
    auto conv = ops.PackConv(kernel, Tensor(), 1, ConvPadding::All(1), compute);
    if (!conv.ok()) return conv.status();
    auto table = ops.PackTable("positions", 40, [](void* host) { std::memset(host, 5, 40); });
    if (!table.ok()) return table.status();
    model = {*std::move(linear), *std::move(conv), *std::move(table)};
    return absl::OkStatus();
  }
};

TEST_F(SharedOpsTest, AnotherProcessComputesTheSameWithoutReading) {
  for (const DType compute : ComputeTypes()) {
    for (const DType source : {DType::kF32, DType::kBf16}) {
      OwnedTensor weight(source, {70, 300});
      weight.Fill(random_);
      OwnedTensor kernel(source, {8, 4, 3, 3});
      kernel.Fill(random_);
      const auto first_ops = CreateCpuOps(2);
      ASSERT_TRUE(first_ops->BeginWeights(nullptr).ok());
      Model first;
      ASSERT_TRUE(Pack(*first_ops, *weight, *kernel, compute, first).ok());
      const auto filled = first_ops->EndWeights();
      ASSERT_TRUE(filled.ok()) << filled.status();
      ASSERT_EQ(filled->segments.size(), 1u);

      const auto second_ops = CreateCpuOps(1);
      const SharedWeights sent = Sent(*filled);
      ASSERT_TRUE(second_ops->BeginWeights(&sent).ok());
      // Addresses that nothing may read.
      Tensor unread = *weight;
      unread.data = reinterpret_cast<void*>(64);
      Tensor unread_kernel = *kernel;
      unread_kernel.data = reinterpret_cast<void*>(64);
      Model second;
      ASSERT_TRUE(Pack(*second_ops, unread, unread_kernel, compute, second).ok());
      ASSERT_TRUE(second_ops->EndWeights().ok());
      EXPECT_EQ(static_cast<char*>(second.table->data())[39], 5);

      OwnedBatch batch({9});
      OwnedTensor x(DType::kF32, {9, 300});
      x.Fill(random_);
      OwnedTensor expected(DType::kF32, {9, 70});
      OwnedTensor out(DType::kF32, {9, 70});
      LinearArgs args{.x = *x, .weight = first.linear.get(), .out = *expected};
      ASSERT_TRUE(first_ops->Linear(args, *batch, *stream_).ok());
      args.weight = second.linear.get();
      args.out = *out;
      ASSERT_TRUE(second_ops->Linear(args, *batch, *stream_).ok());
      EXPECT_EQ(out.Rows(0, 9), expected.Rows(0, 9));
      OwnedTensor image(DType::kF32, {6, 7, 4});
      image.Fill(random_);
      OwnedTensor image_expected(DType::kF32, {6, 7, 8});
      OwnedTensor image_out(DType::kF32, {6, 7, 8});
      ASSERT_TRUE(
          first_ops
              ->Conv2d({.x = *image, .weight = first.conv.get(), .out = *image_expected}, *stream_)
              .ok());
      ASSERT_TRUE(
          second_ops
              ->Conv2d({.x = *image, .weight = second.conv.get(), .out = *image_out}, *stream_)
              .ok());
      EXPECT_EQ(image_out.Rows(0, 6), image_expected.Rows(0, 6));
    }
  }
}

TEST_F(SharedOpsTest, AMismatchIsToldAndPackingBeginsAnew) {
  OwnedTensor weight(DType::kF32, {70, 30});
  weight.Fill(random_);
  OwnedTensor kernel(DType::kF32, {8, 4, 3, 3});
  kernel.Fill(random_);
  const auto ops = CreateCpuOps(1);
  EXPECT_FALSE(ops->EndWeights().ok());
  ASSERT_TRUE(ops->BeginWeights(nullptr).ok());
  Model model;
  ASSERT_TRUE(Pack(*ops, *weight, *kernel, DType::kF32, model).ok());
  const auto filled = ops->EndWeights();
  ASSERT_TRUE(filled.ok());

  OwnedTensor other(DType::kF32, {70, 31});
  other.Fill(random_);
  ASSERT_TRUE(ops->BeginWeights(&*filled).ok());
  Model mismatched;
  absl::Status status = Pack(*ops, *other, *kernel, DType::kF32, mismatched);
  if (status.ok()) status = ops->EndWeights().status();
  EXPECT_EQ(ErrorReason(status), "SHARED_WEIGHTS_MISMATCH");
  ASSERT_TRUE(ops->BeginWeights(nullptr).ok());
  ASSERT_TRUE(Pack(*ops, *other, *kernel, DType::kF32, mismatched).ok());
  EXPECT_TRUE(ops->EndWeights().ok());
  SharedWeights elsewhere = *filled;
  elsewhere.layout[0] = elsewhere.layout[0] == 'a' ? 'b' : 'a';
  status = ops->BeginWeights(&elsewhere);
  EXPECT_EQ(ErrorReason(status), "SHARED_WEIGHTS_MISMATCH");
  EXPECT_THAT(std::string(status.message()), HasSubstr("pack them anew"));
}

}  // namespace
}  // namespace darkroom
