// What the scheduler predicts of jobs, held ones included.

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr TenantId kAda = 1;

// A scheduler whose one worker takes exactly what was predicted: 10 ms for each step, which holds
// two jobs.
class ForecastedScheduler : public ::testing::Test {
 protected:
  void Attach(int slots = 8) {
    ReplicaSpec spec;
    spec.stages = StageBit(Stage::kDenoise);
    spec.models = {0};
    spec.slots = slots;
    spec.step_tokens_max = 128;
    spec.plans_in_flight_max = 1;
    spec.cost = {{Stage::kDenoise, 128, 10 * kMs}};
    Tell(ReplicaAttached{1, spec});
  }
  static JobSpec Spec(JobId id, int32_t steps, bool held = false) {
    JobSpec spec;
    spec.id = id;
    spec.tenant = kAda;
    spec.stages = StageBit(Stage::kDenoise);
    spec.steps = steps;
    spec.step_tokens = 64;
    spec.held = held;
    return spec;
  }
  void Tell(const Event& event) {
    std::vector<Command> commands;
    scheduler_.Handle(event, now_ns_, commands);
    for (const Command& command : commands) {
      if (const auto* plan = std::get_if<RunPlan>(&command)) {
        running_ = *plan;
        for (const auto& item : plan->items) first_ns_.try_emplace(item.job, now_ns_);
      }
      if (const auto* done = std::get_if<JobFinished>(&command)) ended_ns_[done->job] = now_ns_;
      if (const auto* refused = std::get_if<JobRefused>(&command)) refused_.push_back(*refused);
    }
    EXPECT_TRUE(scheduler_.BrokenInvariants().empty());
  }
  // Until nothing runs.
  void RunAll() {
    while (running_) {
      const RunPlan plan = *running_;
      running_.reset();
      now_ns_ += plan.predicted_ns;
      PlanFinished finished{plan.replica, plan.sequence, plan.predicted_ns, {}};
      for (const auto& item : plan.items) {
        finished.items.push_back({item.job, PlanFinished::Outcome::kDone, false});
      }
      Tell(finished);
    }
  }

  Scheduler scheduler_;
  int64_t now_ns_ = 1000 * kMs;
  std::optional<RunPlan> running_;
  std::map<JobId, int64_t> first_ns_;
  std::map<JobId, int64_t> ended_ns_;
  std::vector<JobRefused> refused_;
};

TEST_F(ForecastedScheduler, PredictsWhatComesToPass) {
  Attach();
  for (JobId id = 1; id <= 30; ++id) Tell(JobSubmitted{Spec(id, 5 + static_cast<int>(id) % 9)});
  std::map<JobId, Forecast> forecasts;
  for (JobId id = 1; id <= 30; ++id) forecasts[id] = scheduler_.Predict({id});
  const int64_t asked_ns = now_ns_;
  RunAll();
  for (const auto& [id, forecast] : forecasts) {
    // Slots, batches and their order are the policy's own: off by a few steps at most.
    EXPECT_LE(std::abs(forecast.end_ns - ended_ns_[id]),
              std::max<int64_t>(40 * kMs, (ended_ns_[id] - asked_ns) / 10))
        << "job " << id << " ended after " << (ended_ns_[id] - asked_ns) / kMs << " ms";
  }
}

TEST_F(ForecastedScheduler, BeyondWhatIsPlayedSumsCount) {
  Attach();
  const JobId count = 3 * kForecastJobsMax;
  for (JobId id = 1; id <= count; ++id) Tell(JobSubmitted{Spec(id, 10)});
  const Forecast last = scheduler_.Predict({count});
  const int64_t asked_ns = now_ns_;
  RunAll();
  EXPECT_NEAR(static_cast<double>(last.end_ns - asked_ns) /
                  static_cast<double>(ended_ns_[count] - asked_ns),
              1.0, 0.1);
}

TEST_F(ForecastedScheduler, TellsWhyAJobWaits) {
  using Wait = Forecast::Wait;
  Tell(JobSubmitted{Spec(1, 10)});
  EXPECT_EQ(scheduler_.Predict({1}).wait, Wait::kNoReplica);
  EXPECT_EQ(scheduler_.Predict({1}).end_ns, kNoDeadline);
  Attach();
  Tell(TenantLimits{kAda, 0, 2, 0, 1});
  EXPECT_EQ(scheduler_.Predict({1}).wait, Wait::kNone);
  Tell(JobSubmitted{Spec(2, 20)});
  Tell(JobSubmitted{Spec(3, 30)});
  EXPECT_EQ(scheduler_.Predict({3}).wait, Wait::kTenantLimit);
  Tell(TenantLimits{kAda, 0, 0, 0, 1});
  Tell(JobSubmitted{Spec(4, 40)});
  EXPECT_EQ(scheduler_.Predict({4}).wait, Wait::kCapacity);
  JobSpec late = Spec(5, 50);
  late.deadline_ns = now_ns_ + 1;
  Tell(JobSubmitted{late});
  EXPECT_EQ(scheduler_.Predict({5}).wait, Wait::kLate);
}

TEST_F(ForecastedScheduler, AHeldJobIsPredictedAndDoesNotRun) {
  Attach();
  for (JobId id = 1; id <= 6; ++id) Tell(JobSubmitted{Spec(id, 10)});
  Tell(JobSubmitted{Spec(7, 12, true)});
  const Forecast held = scheduler_.Predict({7});
  EXPECT_EQ(held.wait, Forecast::Wait::kCapacity);
  Tell(JobReleased{7});
  const Forecast released = scheduler_.Predict({7});
  EXPECT_EQ(held.start_ns, released.start_ns);
  EXPECT_EQ(held.end_ns, released.end_ns);
  RunAll();
  EXPECT_TRUE(ended_ns_.contains(7));
}

TEST_F(ForecastedScheduler, AHeldJobKeepsItsGuaranteeAndRunsOnlyOnceReleased) {
  Attach();
  JobSpec promised = Spec(1, 10, true);
  promised.service_class = ServiceClass::kGuaranteed;
  promised.deadline_ns = now_ns_ + 500 * kMs;
  Tell(JobSubmitted{promised});
  EXPECT_TRUE(refused_.empty());
  EXPECT_FALSE(running_.has_value());
  JobSpec second = promised;
  second.id = 2;
  second.steps = 45;
  Tell(JobSubmitted{second});
  ASSERT_EQ(refused_.size(), 1u) << "the place is taken although the first does not run";
  EXPECT_EQ(refused_[0].why, Refusal::kNoGuarantee);
  Tell(ReplicaLost{1});
  Attach();
  EXPECT_FALSE(running_.has_value());
  Tell(JobReleased{1});
  RunAll();
  EXPECT_TRUE(ended_ns_.contains(1));
}

TEST_F(ForecastedScheduler, AnAdmittedJobIsTakenHoweverLate) {
  Attach();
  for (const ServiceClass service_class :
       {ServiceClass::kGuaranteed, ServiceClass::kTarget, ServiceClass::kBestEffort}) {
    JobSpec spec = Spec(10 + static_cast<JobId>(service_class), 10);
    spec.service_class = service_class;
    spec.deadline_ns = now_ns_ - 5000 * kMs;
    spec.admitted = true;
    Tell(JobSubmitted{spec});
  }
  EXPECT_TRUE(refused_.empty());
  RunAll();
  EXPECT_EQ(ended_ns_.size(), 3u);
}

}  // namespace
}  // namespace darkroom::scheduler
