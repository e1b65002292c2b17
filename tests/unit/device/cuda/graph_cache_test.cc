#include "device/cuda/graph_cache.h"

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "device/cuda/cuda_stream.h"
#include "device/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "unit/device/cuda/cuda_fixture.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kWidth = 24;
constexpr int32_t kCapacity = 12;

// A step of two ops on a packed batch whose tables and rows change from call to call.
class GraphCacheTest : public CudaOpsTest {
 protected:
  void SetUp() override {
    CudaOpsTest::SetUp();
    weight_ = *ops_->PackLinear(*Random(DType::kF32, {kWidth, kWidth}), Tensor(), DType::kBf16);
    x_ = OnDevice(*Random(DType::kF32, {kCapacity, kWidth}));
    normed_ = OnDevice(*Random(DType::kF32, {kCapacity, kWidth}));
    out_ = OnDevice(*Random(DType::kF32, {kCapacity, kWidth}));
    const OwnedBatch batch({4, 3}, /*padding=*/5);
    batch_ = OnDevice(*batch);
  }
  cuda::CudaStream& stream() { return static_cast<cuda::CudaStream&>(*stream_); }

  absl::Status Step() {
    ++steps_launched_;
    absl::Status status = ops_->LayerNormModulate({.x = x_, .out = normed_}, batch_, *stream_);
    if (!status.ok()) return status;
    return ops_->Linear({.x = normed_, .weight = weight_.get(), .out = out_}, batch_, *stream_);
  }

  // New rows, so many of them alive, then the step, by `run`; what it gives.
  std::vector<uint8_t> Result(const OwnedTensor& rows, int32_t live,
                              const std::function<absl::Status()>& run) {
    auto write = [&](const void* to, const void* from, size_t bytes) {
      EXPECT_TRUE(ops_->CopyToDevice(const_cast<void*>(to), from, bytes, *stream_).ok());
    };
    write(x_.data, rows->data, rows->bytes());
    write(batch_.live_rows, &live, sizeof(live));
    const absl::Status status = run();
    EXPECT_TRUE(status.ok()) << status;
    return Back(out_, {kCapacity, kWidth}).Rows(0, live);
  }
  absl::Status Replay(const std::string& key = "step") {
    return ops_->Replay(key, *stream_, [this] { return Step(); });
  }

  std::unique_ptr<LinearWeight> weight_;
  Tensor x_, normed_, out_;
  PackedBatch batch_;
  int steps_launched_ = 0;
};

TEST_F(GraphCacheTest, TheSameBitsWithAndWithoutGraphs) {
  const int32_t live[] = {7, 3, 12, 1, 9, 7};
  int launched_at_end = 0;
  for (const int32_t rows : live) {
    const OwnedTensor x = Random(DType::kF32, {kCapacity, kWidth});
    const auto want = Result(x, rows, [this] { return Step(); });
    const int before = steps_launched_;
    EXPECT_EQ(Result(x, rows, [this] { return Replay(); }), want);
    launched_at_end = steps_launched_ - before;
  }
  EXPECT_EQ(stream().graphs().graphs(), 1u);
  EXPECT_EQ(launched_at_end, 0) << "the last call should have repeated the graph";
}

TEST_F(GraphCacheTest, KeepsTheGraphsThatWereUsedLast) {
  const auto twice = [&](const std::string& key) {
    EXPECT_TRUE(Replay(key).ok());
    EXPECT_TRUE(Replay(key).ok());
  };
  const int64_t objects = emulator::LiveObjects();
  twice("kept");
  for (size_t i = 0; i < 3 * kGraphsMax; ++i) {
    twice(absl::StrCat("bucket ", i));
    EXPECT_TRUE(Replay("kept").ok());
    EXPECT_LE(stream().graphs().keys(), kGraphsMax);
  }
  EXPECT_LE(emulator::LiveObjects() - objects, static_cast<int64_t>(kGraphsMax) + 4);
  const int before = steps_launched_;
  EXPECT_TRUE(Replay("kept").ok());
  EXPECT_EQ(steps_launched_, before);
}

TEST_F(GraphCacheTest, WhatCannotBeRecordedIsLaunchedAndLoggedOnce) {
  std::ostringstream log;
  const auto logger = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  // A step that waits for the device cannot be recorded.
  const auto waits = [this] {
    absl::Status status = Step();
    return status.ok() ? stream_->Synchronize() : status;
  };
  for (int round = 0; round < 4; ++round) {
    const OwnedTensor x = Random(DType::kF32, {kCapacity, kWidth});
    const auto want = Result(x, 7, [this] { return Step(); });
    EXPECT_EQ(Result(x, 7, [&] { return ops_->Replay("waits", *stream_, waits); }), want);
  }
  spdlog::set_default_logger(logger);
  EXPECT_EQ(stream().graphs().graphs(), 0u);
  EXPECT_THAT(log.str(), HasSubstr("cannot be recorded"));
  EXPECT_EQ(log.str().find("cannot be recorded"), log.str().rfind("cannot be recorded"));
}

TEST_F(GraphCacheTest, WithoutMemoryForAGraphItGoesOn) {
  ASSERT_TRUE(Replay().ok());
  ASSERT_TRUE(Replay().ok());  // scratch memory has grown in the first: a new key
  const OwnedTensor x = Random(DType::kF32, {kCapacity, kWidth});
  const auto want = Result(x, 7, [this] { return Step(); });
  EXPECT_EQ(Result(x, 7,
                   [this] {
                     emulator::FailAllocation(0);
                     return ops_->Replay("other", *stream_, [this] { return Step(); });
                   }),
            want);
  EXPECT_EQ(Result(x, 7,
                   [this] {
                     emulator::FailAllocation(0);  // the graph's own
                     const absl::Status status =
                         ops_->Replay("other", *stream_, [this] { return Step(); });
                     emulator::FailAllocation(-1);
                     return status;
                   }),
            want);
}

TEST_F(GraphCacheTest, IsRecordedAnewWhenScratchMovesOrAdaptersChange) {
  const OwnedTensor x = Random(DType::kF32, {kCapacity, kWidth});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Replay().ok());
  ASSERT_GE(stream().graphs().graphs(), 1u);
  // What is recorded reads memory that is gone.
  ASSERT_TRUE(stream().Scratch(1 << 20).ok());
  const auto plain = Result(x, 7, [this] { return Step(); });
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Result(x, 7, [this] { return Replay(); }), plain);

  const AdapterRange range{0, 7, 0, 0, 1.0f};
  const int32_t count = 1;
  batch_.adapters = Table(&range, 1);
  batch_.adapter_count = Table(&count, 1);
  batch_.adapter_levels = 1;
  const auto named = [this] { return Replay("with adapters"); };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Result(x, 7, named), plain);
  for (const int64_t rank : {3, 70}) {
    const OwnedTensor down = Random(DType::kF32, {rank, kWidth}),
                      up = Random(DType::kF32, {kWidth, rank});
    const AdapterPart part{*down, *up};
    ASSERT_TRUE(ops_->BindAdapter(*weight_, 0, absl::MakeConstSpan(&part, 1), *stream_).ok());
    const auto changed = Result(x, 7, [this] { return Step(); });
    EXPECT_NE(changed, plain);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(Result(x, 7, named), changed) << rank;
  }
}

}  // namespace
}  // namespace darkroom
