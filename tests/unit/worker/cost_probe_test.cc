#include "worker/cost_probe.h"

#include <vector>

#include "gtest/gtest.h"
#include "testing/fake_pipeline.h"
#include "unit/worker/worker_harness.h"

namespace darkroom {
namespace {

using testing::FakePipeline;
using testing::FakePipelineOptions;

std::vector<v1::ModelLoaded::CostPoint> Points(const std::vector<std::pair<int64_t, int64_t>>& in) {
  std::vector<v1::ModelLoaded::CostPoint> points;
  for (const auto& [tokens, nanos] : in) {
    points.emplace_back();
    points.back().set_tokens(tokens);
    points.back().set_nanos(nanos);
  }
  return points;
}

TEST(KneeTest, IsWhereThroughputStopsRising) {
  EXPECT_EQ(KneeTokens({}), 0);
  EXPECT_EQ(KneeTokens(Points({{16, 100}})), 16);
  // A fixed cost of 100 and then 1 per token up to 256, beyond which tokens cost their full price.
  EXPECT_EQ(KneeTokens(Points({{16, 100}, {64, 100}, {256, 100}, {512, 200}, {1024, 400}})), 256);
  // Never stops rising.
  EXPECT_EQ(KneeTokens(Points({{16, 100}, {32, 100}, {64, 100}})), 64);
  // No gain from the start: one at a time is as good.
  EXPECT_EQ(KneeTokens(Points({{16, 100}, {32, 200}, {64, 400}})), 16);
  // One noisy point below the curve does not end the search.
  EXPECT_EQ(KneeTokens(Points({{16, 100}, {32, 220}, {64, 100}, {128, 200}})), 64);
}

TEST(StepTokensTest, RoundsUpAndCountsBranchesAndText) {
  v1::Model model;
  model.mutable_defaults()->set_guidance_scale(1);
  EXPECT_EQ(StepTokens(model, 16, 64, 64), 16);
  EXPECT_EQ(StepTokens(model, 16, 65, 64), 20);
  model.mutable_defaults()->set_guidance_scale(4);
  EXPECT_EQ(StepTokens(model, 16, 64, 64), 32);
  model.mutable_limits()->set_sequence_length_max(100);
  model.set_guidance(v1::Model::GUIDANCE_CLASSIFIER_FREE);
  EXPECT_EQ(StepTokens(model, 16, 64, 64), 232);
  model.set_guidance(v1::Model::GUIDANCE_DISTILLED);
  EXPECT_EQ(StepTokens(model, 16, 64, 64), 116) << "distilled guidance is one branch";
}

TEST(CostProbeTest, MeasuresAscendingSizesAndLeavesEverySlotClosed) {
  LoadOptions load;
  load.slots = 8;
  FakePipelineOptions options;
  options.step_us = 1000;
  options.encode_us = 3000;
  options.token_ns = 20'000;
  FakePipeline pipeline(options, load);
  const CostCurve curve =
      MeasureCost(pipeline, load.slots, 0, /*budget_ns=*/2'000'000'000, Clock::Real());
  ASSERT_GE(curve.points.size(), 4u);
  for (size_t i = 0; i < curve.points.size(); ++i) {
    const auto& point = curve.points[i];
    EXPECT_EQ(point.stage(), v1::STAGE_DENOISE);
    if (i > 0) {
      EXPECT_GT(point.tokens(), curve.points[i - 1].tokens());
    }
    EXPECT_GE(point.nanos(), 1'000'000 + point.tokens() * 20'000);
  }
  EXPECT_EQ(curve.points.back().tokens(), 8 * 32);
  EXPECT_GT(curve.knee_tokens, 0);
  EXPECT_GE(curve.encode_ns, 3'000'000);
  for (uint32_t slot = 0; slot < 8; ++slot) {
    EXPECT_TRUE(
        pipeline.Open(testing::WorkerHarness::OpenMessage(slot, 1).open_slot(), {}, {}).ok());
  }
}

TEST(CostProbeTest, StaysWithinItsBudgetAndItsTokens) {
  LoadOptions load;
  load.slots = 8;
  FakePipelineOptions options;
  options.step_us = 30'000;
  FakePipeline pipeline(options, load);
  const int64_t begin_ns = Clock::Real().MonotonicNanos();
  const CostCurve curve = MeasureCost(pipeline, load.slots, 0, 150'000'000, Clock::Real());
  // Three steps of 30 ms to a point: a second point may only just fit, a third cannot.
  EXPECT_LT(Clock::Real().MonotonicNanos() - begin_ns, 500'000'000);
  EXPECT_GE(curve.points.size(), 1u);
  EXPECT_LE(curve.points.size(), 2u);

  FakePipelineOptions quick;
  quick.step_us = 0;
  FakePipeline small(quick, load);
  for (const auto& point : MeasureCost(small, 8, 100, 1'000'000'000, Clock::Real()).points) {
    EXPECT_LE(point.tokens(), 100);
  }
}

TEST(CostProbeTest, TheWorkerTellsWhatItMeasured) {
  WorkerOptions options;
  options.cost_probe_ns_max = 100'000'000;
  testing::WorkerHarness worker({.step_us = 100}, options);
  const v1::ModelLoaded loaded = worker.Load(4);
  EXPECT_GT(loaded.cost_size(), 1);
  EXPECT_GT(loaded.knee_tokens(), 0);
  EXPECT_TRUE(worker.Open(0, 1).ok());
}

}  // namespace
}  // namespace darkroom
