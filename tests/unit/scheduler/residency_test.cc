#include "scheduler/residency.h"

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/event_check.h"
#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// One scheduler, and what it ordered last.
class ResidencyTest : public ::testing::Test {
 protected:
  void Send(const Event& event) {
    commands_.clear();
    scheduler_.Handle(event, now_ns_, commands_);
  }
  void Attach(ReplicaId id, int64_t bytes, std::vector<ModelId> models = {}) {
    ReplicaSpec spec;
    spec.stages = StageBit(Stage::kDenoise);
    spec.slots = 4;
    spec.step_tokens_max = 1000;
    spec.weights_bytes = bytes;
    spec.adapter_ns = adapter_ns_;
    spec.numerics = 1;
    spec.models = std::move(models);
    spec.cost = {{Stage::kDenoise, 1000, kSecond / 10}};
    Send(ReplicaAttached{id, spec});
  }
  static JobSpec Job(JobId id, ModelId model, uint32_t adapter = 0) {
    JobSpec spec;
    spec.id = id;
    spec.tenant = static_cast<TenantId>(id);
    spec.model = model;
    spec.adapter = adapter;
    spec.stages = StageBit(Stage::kDenoise);
    return spec;
  }
  template <typename T>
  std::vector<T> Of() const {
    std::vector<T> found;
    for (const Command& command : commands_) {
      if (const auto* one = std::get_if<T>(&command)) found.push_back(*one);
    }
    return found;
  }
  void FinishPlan(ReplicaId replica, const RunPlan& plan) {
    PlanFinished finished{replica, plan.sequence, plan.predicted_ns, {}};
    for (const auto& item : plan.items) {
      finished.items.push_back({item.job, PlanFinished::Outcome::kDone, false});
    }
    Send(finished);
  }

  int64_t adapter_ns_ = 0;
  int64_t now_ns_ = kSecond;
  Scheduler scheduler_;
  std::vector<Command> commands_;
};

TEST_F(ResidencyTest, LoadsWhatAJobWaitsForThenItsAdapterThenRunsIt) {
  Send(WeightsKnown{{7, 0}, 10, 20 * kSecond});
  Send(WeightsKnown{{7, 3}, 1, 4 * kSecond});
  Attach(1, 11);
  Send(JobSubmitted{Job(1, 7, 3)});
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  EXPECT_EQ(Of<LoadWeights>()[0].weights, (WeightsId{7, 0}));
  now_ns_ += 20 * kSecond;
  Send(WeightsLoaded{1, {7, 0}, 20 * kSecond});
  EXPECT_TRUE(Of<RunPlan>().empty()) << "its adapter is not there";
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  EXPECT_EQ(Of<LoadWeights>()[0].weights, (WeightsId{7, 3}));
  now_ns_ += 4 * kSecond;
  Send(WeightsLoaded{1, {7, 3}, 4 * kSecond});
  ASSERT_EQ(Of<RunPlan>().size(), 1u);
  EXPECT_EQ(Of<RunPlan>()[0].items[0].job, 1u);
}

TEST_F(ResidencyTest, TheFirstWhoseWeightsAreThereRunsWhileTheOthersLoad) {
  Send(WeightsKnown{{1, 0}, 10, 20 * kSecond});
  Send(WeightsKnown{{2, 0}, 10, 20 * kSecond});
  Attach(1, 20, {1});
  Send(JobSubmitted{Job(1, 2)});
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  Send(JobSubmitted{Job(2, 1)});
  ASSERT_EQ(Of<RunPlan>().size(), 1u);
  EXPECT_EQ(Of<RunPlan>()[0].items[0].job, 2u);
  EXPECT_TRUE(Of<EvictWeights>().empty());
}

TEST_F(ResidencyTest, WhatIsWorthLessGoesAndWhatRunsStays) {
  for (const ModelId model : {1u, 2u, 3u}) Send(WeightsKnown{{model, 0}, 10, 20 * kSecond});
  Attach(1, 20, {1, 2});
  JobSpec running = Job(1, 1);
  running.steps = 50;
  Send(JobSubmitted{running});
  Send(JobSubmitted{Job(2, 3)});
  ASSERT_EQ(Of<EvictWeights>().size(), 1u);
  EXPECT_EQ(Of<EvictWeights>()[0].weights, (WeightsId{2, 0}));
  EXPECT_EQ(Of<LoadWeights>()[0].weights, (WeightsId{3, 0}));
}

TEST_F(ResidencyTest, AReplicaThatVanishesInALoadLosesNothing) {
  Send(WeightsKnown{{1, 0}, 10, 20 * kSecond});
  Attach(1, 10);
  Send(JobSubmitted{Job(1, 1)});
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  Send(ReplicaLost{1});
  EXPECT_TRUE(scheduler_.BrokenInvariants().empty());
  Send(WeightsLoaded{1, {1, 0}, kSecond});  // its last word came late
  Attach(2, 10);
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  EXPECT_EQ(Of<LoadWeights>()[0].replica, 2);
}

TEST_F(ResidencyTest, ALoadThatNeverEndsIsNotWaitedForAndKeepsItsMemory) {
  Send(WeightsKnown{{1, 0}, 10, kSecond});
  Attach(1, 10);
  Attach(2, 10);
  Send(JobSubmitted{Job(1, 1)});
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  const ReplicaId first = Of<LoadWeights>()[0].replica;
  now_ns_ += kOverduePerLoad * kSecond;
  Send(ClockTicked{});
  EXPECT_TRUE(Of<LoadWeights>().empty());
  now_ns_ += 1;
  Send(ClockTicked{});
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  EXPECT_NE(Of<LoadWeights>()[0].replica, first);
  // The worker that hung may still write there: nothing else is put into that memory.
  Send(WeightsKnown{{2, 0}, 10, kSecond});
  Send(JobSubmitted{Job(2, 2)});
  EXPECT_TRUE(Of<LoadWeights>().empty());
  Send(WeightsLoaded{first, {1, 0}, 11 * kSecond});  // it did end
  EXPECT_EQ(Of<RunPlan>().size(), 1u);
}

TEST_F(ResidencyTest, AfterAFailureTheNextTryWaitsEachTimeTwiceAsLong) {
  Send(WeightsKnown{{1, 0}, 10, kSecond});
  Attach(1, 10);
  Send(JobSubmitted{Job(1, 1)});
  for (int64_t wait_s = 1; wait_s <= 8; wait_s *= 2) {
    ASSERT_EQ(Of<LoadWeights>().size(), 1u) << wait_s;
    Send(WeightsFailed{1, {1, 0}});
    EXPECT_TRUE(Of<LoadWeights>().empty());
    EXPECT_TRUE(scheduler_.wants_clock());
    now_ns_ += wait_s * kSecond - 1;
    Send(ClockTicked{});
    EXPECT_TRUE(Of<LoadWeights>().empty()) << "tried again too soon, after " << wait_s;
    now_ns_ += kLookAgainNs;
    Send(ClockTicked{});
  }
}

TEST_F(ResidencyTest, AClockThatJumpsBackStandsStill) {
  Send(WeightsKnown{{1, 0}, 10, kSecond});
  Attach(1, 10);
  Send(JobSubmitted{Job(1, 1)});
  now_ns_ -= 5 * kSecond;
  Send(WeightsLoaded{1, {1, 0}, kSecond});
  EXPECT_EQ(Of<RunPlan>().size(), 1u);
  EXPECT_TRUE(scheduler_.BrokenInvariants().empty());
}

TEST_F(ResidencyTest, ATenantThatIsRemovedTakesItsWantsAlong) {
  Send(WeightsKnown{{1, 0}, 30, kSecond});
  Attach(1, 10);  // too small: it waits for good
  Send(JobSubmitted{Job(1, 1)});
  EXPECT_TRUE(Of<LoadWeights>().empty());
  Send(TenantRemoved{1});
  ASSERT_EQ(Of<JobRefused>().size(), 1u);
  Send(ClockTicked{});
  EXPECT_FALSE(scheduler_.wants_clock());
  EXPECT_TRUE(scheduler_.BrokenInvariants().empty());
}

TEST_F(ResidencyTest, WeightsOutOfRangeAreRefused) {
  for (const int64_t bytes : {int64_t{-1}, int64_t{0}, kWeightsBytesMax + 1}) {
    EXPECT_FALSE(CheckEvent(WeightsKnown{{1, 0}, bytes, kSecond}).ok()) << bytes;
  }
  for (const int64_t load_ns : {int64_t{-1}, int64_t{0}, kLoadNanosMax + 1}) {
    EXPECT_FALSE(CheckEvent(WeightsKnown{{1, 0}, 1, load_ns}).ok()) << load_ns;
  }
  EXPECT_FALSE(CheckEvent(WeightsLoaded{1, {1, 0}, -1}).ok());
  ReplicaSpec spec;
  spec.weights_bytes = -1;
  EXPECT_FALSE(CheckEvent(ReplicaAttached{1, spec}).ok());
}

TEST_F(ResidencyTest, ReportsOfWhatWasNotOrderedChangeNothing) {
  Send(WeightsKnown{{1, 0}, 10, kSecond});
  Attach(1, 10);
  Send(WeightsLoaded{1, {1, 0}, kSecond});
  Send(WeightsFailed{1, {1, 0}});
  Send(WeightsEvicted{1, {1, 0}});
  Send(WeightsLoaded{9, {1, 0}, kSecond});
  Send(JobSubmitted{Job(1, 1)});
  EXPECT_EQ(Of<LoadWeights>().size(), 1u);
  EXPECT_TRUE(scheduler_.BrokenInvariants().empty());
}

TEST_F(ResidencyTest, WhatAReplicaGaveUpItselfIsLoadedAgain) {
  Send(WeightsKnown{{1, 0}, 10, kSecond});
  Attach(1, 10, {1});
  Send(WeightsEvicted{1, {1, 0}});
  Send(JobSubmitted{Job(1, 1)});
  EXPECT_TRUE(Of<RunPlan>().empty());
  EXPECT_EQ(Of<LoadWeights>().size(), 1u);
  // While something needs them, such a report is not believed.
  Send(WeightsLoaded{1, {1, 0}, kSecond});
  ASSERT_EQ(Of<RunPlan>().size(), 1u);
  const RunPlan plan = Of<RunPlan>()[0];
  Send(WeightsEvicted{1, {1, 0}});
  EXPECT_TRUE(scheduler_.BrokenInvariants().empty());
  FinishPlan(1, plan);
  EXPECT_EQ(Of<JobFinished>().size(), 1u);
}

TEST_F(ResidencyTest, AdmissionAndForecastsCountTheLoad) {
  Send(WeightsKnown{{1, 0}, 10, 20 * kSecond});
  Attach(1, 10);
  JobSpec spec = Job(1, 1);
  spec.service_class = ServiceClass::kTarget;
  spec.deadline_ns = now_ns_ + 19 * kSecond;
  Send(JobSubmitted{spec});
  ASSERT_EQ(Of<JobRefused>().size(), 1u);
  EXPECT_EQ(Of<JobRefused>()[0].why, Refusal::kDeadlineTooSoon);
  const int64_t offered_ns = Of<JobRefused>()[0].offered_deadline_ns;
  EXPECT_GT(offered_ns, now_ns_ + 20 * kSecond);
  // Who was refused for the load alone made it begin.
  EXPECT_EQ(Of<LoadWeights>().size(), 1u);
  spec.deadline_ns = offered_ns;
  Send(JobSubmitted{spec});
  EXPECT_TRUE(Of<JobRefused>().empty());
  const JobId ids[] = {1};
  const Forecast forecast = scheduler_.Predict(ids);
  EXPECT_EQ(forecast.wait, Forecast::Wait::kNoReplica);
  EXPECT_EQ(forecast.start_ns, now_ns_ + 20 * kSecond);
  EXPECT_EQ(forecast.end_ns, now_ns_ + 20 * kSecond + kSecond / 10);
}

TEST_F(ResidencyTest, AGuaranteeNeedsTheWeightsToBeThere) {
  Send(WeightsKnown{{1, 0}, 10, 20 * kSecond});
  Attach(1, 10);
  JobSpec spec = Job(1, 1);
  spec.service_class = ServiceClass::kGuaranteed;
  spec.deadline_ns = now_ns_ + 100 * kSecond;
  Send(JobSubmitted{spec});
  ASSERT_EQ(Of<JobRefused>().size(), 1u);
  EXPECT_EQ(Of<JobRefused>()[0].retry_after_ns, 20 * kSecond);
  ASSERT_EQ(Of<LoadWeights>().size(), 1u);
  now_ns_ += 20 * kSecond;
  Send(WeightsLoaded{1, {1, 0}, 20 * kSecond});
  Send(JobSubmitted{spec});
  EXPECT_EQ(Of<RunPlan>().size(), 1u);
}

TEST_F(ResidencyTest, AdaptersAreInThePriceOfABatchAndPaidByTheirUsers) {
  adapter_ns_ = kSecond / 100;
  Send(WeightsKnown{{1, 0}, 10, kSecond});
  Send(WeightsKnown{{1, 1}, 1, kSecond});
  Attach(1, 12);
  JobSpec with = Job(1, 1, 1);
  JobSpec without = Job(2, 1);
  with.step_tokens = without.step_tokens = 500;
  Send(JobSubmitted{with});
  now_ns_ += kSecond;
  Send(WeightsLoaded{1, {1, 0}, kSecond});
  now_ns_ += kSecond;
  without.held = true;  // until the adapter is there, so that both run together
  Send(JobSubmitted{without});
  JobSpec first = Job(3, 1);
  first.step_tokens = 1000;
  Send(JobSubmitted{first});
  const RunPlan before = Of<RunPlan>().at(0);
  Send(JobReleased{2});
  Send(WeightsLoaded{1, {1, 1}, kSecond});
  FinishPlan(1, before);
  ASSERT_EQ(Of<RunPlan>().size(), 1u);
  const RunPlan plan = Of<RunPlan>()[0];
  ASSERT_EQ(plan.items.size(), 2u);
  EXPECT_EQ(plan.predicted_ns, kSecond / 10 + kSecond / 100);
  FinishPlan(1, plan);
  for (const Charge& charge : Of<Charge>()) {
    EXPECT_EQ(charge.nanos, kSecond / 20 + (charge.job == 1 ? kSecond / 100 : 0));
  }
}

}  // namespace
}  // namespace darkroom::scheduler
