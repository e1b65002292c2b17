// Elastic degree where the property tests do not look: beside replicas of no gang, and in what is
// learned about costs.

#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMillisecond = 1'000'000;

std::vector<CostPoint> Denoising(std::vector<std::pair<int64_t, int64_t>> points_ms) {
  std::vector<CostPoint> cost;
  for (const auto& [tokens, ms] : points_ms) {
    cost.push_back({Stage::kDenoise, tokens, ms * kMillisecond});
  }
  return cost;
}

ReplicaSpec Alone() {
  ReplicaSpec spec;
  spec.stages = StageBit(Stage::kDenoise);
  spec.models = {0};
  spec.slots = 8;
  spec.step_tokens_max = 1500;
  spec.numerics = 1;
  spec.moves = true;
  spec.cost = Denoising({{500, 50}, {1000, 100}, {1500, 150}});
  return spec;
}

ReplicaSpec OfAPair(int32_t rank) {
  ReplicaSpec spec = Alone();
  spec.gang = 0;
  spec.gang_rank = rank;
  spec.degrees = {{2, Denoising({{500, 30}, {1000, 55}, {1500, 90}}), {}}};
  return spec;
}

class SchedulerDegreeTest : public ::testing::Test {
 protected:
  void Send(const Event& event) {
    commands_.clear();
    scheduler_.Handle(event, now_ns_, commands_);
    for (const Command& command : commands_) {
      if (const auto* run = std::get_if<RunPlan>(&command)) running_.push_back(*run);
    }
  }
  // Refused for a deadline that nobody could keep.
  bool IsTooSoon(JobId id, int64_t deadline_ms) {
    JobSpec spec = Job(id, 4, 1000);
    spec.service_class = ServiceClass::kTarget;
    spec.deadline_ns = now_ns_ + deadline_ms * kMillisecond;
    Send(JobSubmitted{spec});
    const auto* refused = commands_.empty() ? nullptr : std::get_if<JobRefused>(&commands_[0]);
    return refused != nullptr && refused->why == Refusal::kDeadlineTooSoon;
  }
  static JobSpec Job(JobId id, int32_t steps, int64_t tokens) {
    JobSpec spec;
    spec.id = id;
    spec.stages = StageBit(Stage::kDenoise);
    spec.steps = steps;
    spec.step_tokens = tokens;
    return spec;
  }
  // Whatever runs takes what was predicted, until nothing does.
  void RunOut() {
    while (!running_.empty()) {
      const RunPlan plan = running_.front();
      running_.erase(running_.begin());
      now_ns_ += plan.predicted_ns;
      together_ += !plan.helpers.empty() && plan.items.size() > 1 ? 1 : 0;
      PlanFinished finished{plan.replica, plan.sequence, plan.predicted_ns, {}};
      for (const auto& item : plan.items) {
        finished.items.push_back({item.job, PlanFinished::Outcome::kDone, false});
      }
      Send(finished);
    }
  }

  Scheduler scheduler_;
  std::vector<Command> commands_;
  std::vector<RunPlan> running_;
  int together_ = 0;  // quanta of several jobs on several replicas
  int64_t now_ns_ = 1;
};

TEST_F(SchedulerDegreeTest, AGangsSpeedIsOnlyItsOwnJobs) {
  Send(ReplicaAttached{1, Alone()});
  for (int32_t rank = 0; rank < 2; ++rank) {
    ReplicaSpec own = OfAPair(rank);
    own.dedicated_to = 9;
    Send(ReplicaAttached{2 + rank, own});
  }
  // 4 steps take 400 ms alone and 220 ms on the pair, which belongs to another.
  EXPECT_TRUE(IsTooSoon(1, 300));
  EXPECT_FALSE(IsTooSoon(2, 500));
  for (int32_t rank = 0; rank < 2; ++rank) {
    ReplicaSpec shared = OfAPair(rank);
    shared.gang = 1;
    Send(ReplicaAttached{4 + rank, shared});
  }
  EXPECT_FALSE(IsTooSoon(3, 300));
}

TEST_F(SchedulerDegreeTest, AGangsChargesAreNoCostError) {
  Send(ReplicaAttached{1, OfAPair(0)});
  Send(ReplicaAttached{2, OfAPair(1)});
  for (JobId id = 1; id < 300; id += 2) {
    // The first goes first and needs both replicas for its second step, too; the second rides along
    // and pays its price alone, which is less than its tokens' part.
    JobSpec hurried = Job(id, 4, 1000);
    hurried.deadline_ns = now_ns_ + 345 * kMillisecond;
    Send(JobSubmitted{hurried});
    Send(JobSubmitted{Job(id + 1, 12, 500)});
    RunOut();
  }
  EXPECT_EQ(scheduler_.job_count(), 0u);
  EXPECT_GE(together_, 150);
  EXPECT_LE(scheduler_.epsilon(), 1.0 / 64);  // a nanosecond of rounding counts as one step of it
}

}  // namespace
}  // namespace darkroom::scheduler
