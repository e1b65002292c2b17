#include "scheduler/scheduler.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/limits.h"

namespace darkroom::scheduler {
namespace {

constexpr uint8_t kWorkerStages = 0b01111;
constexpr uint8_t kMediaStages = 0b10000;

class SchedulerTest : public ::testing::Test {
 protected:
  void AttachWorker(ReplicaId id, int slots = 8, int64_t tokens = 1024, int depth = 2) {
    ReplicaSpec spec;
    spec.stages = kWorkerStages;
    spec.models = {0};
    spec.slots = slots;
    spec.step_tokens_max = tokens;
    spec.plans_in_flight_max = depth;
    spec.numerics = 1;
    Send(ReplicaAttached{id, spec});
  }
  void AttachMedia() {
    ReplicaSpec spec;
    spec.stages = kMediaStages;
    spec.any_model = true;
    Send(ReplicaAttached{0, spec});
  }
  void Submit(JobId id, TenantId tenant = 1, int steps = 4, int64_t tokens = 64) {
    JobSpec spec;
    spec.id = id;
    spec.tenant = tenant;
    spec.steps = steps;
    spec.step_tokens = tokens;
    spec.image_tokens = tokens;
    Send(JobSubmitted{spec});
  }
  void Send(const Event& event) {
    scheduler_.Handle(event, now_++, commands_);
    EXPECT_THAT(scheduler_.BrokenInvariants(), ::testing::IsEmpty());
    for (const Command& command : commands_) {
      if (const auto* run = std::get_if<RunPlan>(&command)) out_.push_back(*run);
      all_.push_back(command);
    }
    commands_.clear();
  }
  // Ends the oldest plan of the replica; fails the test when there is none.
  RunPlan Finish(ReplicaId replica, int64_t duration_ns = 1000, bool checkpoint = true) {
    for (auto it = out_.begin(); it != out_.end(); ++it) {
      if (it->replica != replica) continue;
      RunPlan plan = *it;
      out_.erase(it);
      PlanFinished finished{replica, plan.sequence, duration_ns, {}};
      for (const auto& item : plan.items) {
        finished.items.push_back(
            {item.job, PlanFinished::Outcome::kDone, item.checkpoint && checkpoint});
      }
      Send(finished);
      return plan;
    }
    ADD_FAILURE() << "replica " << replica << " has no plan";
    return {};
  }
  template <typename T>
  std::vector<T> Commands() const {
    std::vector<T> found;
    for (const auto& command : all_) {
      if (const auto* c = std::get_if<T>(&command)) found.push_back(*c);
    }
    return found;
  }

  Scheduler scheduler_;
  std::vector<Command> commands_;
  std::vector<Command> all_;
  std::vector<RunPlan> out_;
  int64_t now_ = 0;
};

TEST_F(SchedulerTest, TakesAJobThroughEveryStage) {
  AttachMedia();
  AttachWorker(1);
  Submit(7, 1, 3);
  std::vector<std::pair<Stage, int>> seen;
  for (int i = 0; i < 5; ++i) {
    const RunPlan plan = Finish(1);
    seen.emplace_back(plan.stage, plan.items.at(0).step);
  }
  const RunPlan media = Finish(0);
  EXPECT_EQ(media.stage, Stage::kMediaEncode);
  EXPECT_THAT(seen,
              ::testing::ElementsAre(std::pair(Stage::kEncode, 0), std::pair(Stage::kDenoise, 0),
                                     std::pair(Stage::kDenoise, 1), std::pair(Stage::kDenoise, 2),
                                     std::pair(Stage::kDecode, 3)));
  EXPECT_EQ(Commands<JobFinished>().size(), 1u);
  EXPECT_EQ(Commands<CloseSlot>().size(), 1u);
  EXPECT_EQ(scheduler_.job_count(), 0u);
}

TEST_F(SchedulerTest, StagesThePlanBehindTheRunningOne) {
  AttachWorker(1);
  Submit(7);
  // Encode runs, the first step is staged; nothing more until one ends.
  ASSERT_EQ(out_.size(), 2u);
  EXPECT_EQ(out_[1].stage, Stage::kDenoise);
  Finish(1);
  EXPECT_EQ(out_.size(), 2u);
}

TEST_F(SchedulerTest, AJobJoinsAtTheNextFreeStep) {
  AttachWorker(1);
  Submit(1, 1, 10);
  Finish(1);
  Finish(1);
  Submit(2, 1, 10, 128);
  Finish(1);  // the step that ran
  Finish(1);  // the step that was staged
  EXPECT_EQ(Finish(1).stage, Stage::kEncode);
  const RunPlan both = Finish(1);
  EXPECT_EQ(both.stage, Stage::kDenoise);
  ASSERT_EQ(both.items.size(), 2u);
  EXPECT_NE(both.items[0].step, both.items[1].step);
}

TEST_F(SchedulerTest, ACancelledJobGivesUpItsSlotAtOnce) {
  AttachWorker(1, 1);
  Submit(1, 1, 10);
  Submit(2, 1, 10);
  Finish(1);
  Send(JobEnded{1});
  ASSERT_EQ(Commands<CloseSlot>().size(), 1u);
  // The staged step of the cancelled job is still out; the next plan is the other job's.
  Finish(1);
  EXPECT_EQ(Commands<OpenSlot>().back().job, 2u);
  EXPECT_EQ(Commands<OpenSlot>().back().slot, 0u);
  EXPECT_GT(Commands<OpenSlot>().back().epoch, Commands<CloseSlot>().back().epoch);
}

TEST_F(SchedulerTest, ALostReplicasJobsGoOnFromTheirCheckpoints) {
  scheduler_.set_checkpoint_steps(2);
  AttachWorker(1);
  Submit(1, 1, 10);
  for (int i = 0; i < 4; ++i) Finish(1);  // encode, steps 0 1 2: a checkpoint after step 1
  Send(ReplicaLost{1});
  out_.clear();
  ASSERT_EQ(Commands<JobRequeued>().size(), 1u);
  EXPECT_EQ(Commands<JobRequeued>()[0].resume_step, 2);
  AttachWorker(2);
  EXPECT_EQ(Commands<OpenSlot>().back().resume_step, 2);
  EXPECT_EQ(Finish(2).stage, Stage::kEncode);
  EXPECT_EQ(Finish(2).items.at(0).step, 2);
}

TEST_F(SchedulerTest, ResumesOnlyWhereTheBitsAreTheSame) {
  scheduler_.set_checkpoint_steps(1);
  AttachWorker(1);
  Submit(1, 1, 10);
  for (int i = 0; i < 3; ++i) Finish(1);
  Send(ReplicaLost{1});
  out_.clear();
  ReplicaSpec other;
  other.stages = kWorkerStages;
  other.models = {0};
  other.slots = 4;
  other.step_tokens_max = 1024;
  other.numerics = 2;
  Send(ReplicaAttached{2, other});
  EXPECT_TRUE(out_.empty());
  AttachWorker(3);
  EXPECT_FALSE(out_.empty());
}

TEST_F(SchedulerTest, GivesUpAJobThatKillsItsWorkersAndSparesItsMates) {
  for (int mate = 2; mate <= 8; ++mate) Submit(mate, 1, 3);
  Submit(1, 1, 3);
  ReplicaId replica = 1;
  AttachMedia();
  AttachWorker(replica);
  // Whoever runs a denoising step with job 1 dies.
  for (int round = 0; round < 200 && scheduler_.job_count() > 0; ++round) {
    while (!out_.empty() && out_.front().replica == 0) Finish(0);
    if (out_.empty()) break;
    const RunPlan& next = out_.front();
    const bool poisoned =
        next.stage == Stage::kDenoise &&
        std::any_of(next.items.begin(), next.items.end(), [](auto& i) { return i.job == 1; });
    if (!poisoned) {
      Finish(next.replica);
      continue;
    }
    std::erase_if(out_, [&](const RunPlan& plan) { return plan.replica == replica; });
    Send(ReplicaLost{replica});
    AttachWorker(++replica);
  }
  ASSERT_EQ(Commands<JobQuarantined>().size(), 1u);
  EXPECT_EQ(Commands<JobQuarantined>()[0].job, 1u);
  EXPECT_EQ(Commands<JobFinished>().size(), 7u);
  EXPECT_EQ(replica - 1, kCrashesMax);
}

TEST_F(SchedulerTest, AnExclusiveTenantSharesNoBatch) {
  AttachWorker(1);
  JobSpec spec;
  spec.steps = 5;
  spec.step_tokens = 10;
  spec.id = 1;
  spec.tenant = 1;
  spec.isolation = Isolation::kExclusiveBatch;
  Send(JobSubmitted{spec});
  spec.id = 2;
  spec.tenant = 2;
  spec.isolation = Isolation::kShared;
  Send(JobSubmitted{spec});
  spec.id = 3;
  Send(JobSubmitted{spec});
  bool together = false;
  for (int i = 0; i < 16 && !out_.empty(); ++i) {
    const RunPlan plan = Finish(1);
    together = together || plan.items.size() == 2;
    for (const auto& item : plan.items) EXPECT_TRUE(item.job != 1 || plan.items.size() == 1);
  }
  EXPECT_TRUE(together) << "jobs 2 and 3 may share";
}

TEST_F(SchedulerTest, AJobLargerThanTheBudgetStillRuns) {
  AttachMedia();
  AttachWorker(1, 4, 100);
  Submit(1, 1, 2, 5000);
  for (int i = 0; i < 4; ++i) Finish(1);
  Finish(0);
  EXPECT_EQ(Commands<JobFinished>().size(), 1u);
}

TEST_F(SchedulerTest, OneTenantCannotFillEverySlot) {
  scheduler_ = Scheduler({.burst_credit_ns = 0});
  AttachWorker(1, 8, 64);
  for (int i = 1; i <= 20; ++i) Submit(i, 1, 100);
  for (int i = 0; i < 30; ++i) Finish(1);
  Submit(100, 2, 100);
  bool ran = false;
  for (int i = 0; i < 12; ++i) {
    for (const auto& item : Finish(1).items) ran = ran || item.job == 100;
  }
  EXPECT_TRUE(ran);
}

// ---- bad input: each has a defined answer ----

TEST_F(SchedulerTest, ADeadlineInThePastIsRefused) {
  AttachWorker(1);
  now_ = 1000;
  JobSpec spec;
  spec.id = 7;
  spec.deadline_ns = 999;
  Send(JobSubmitted{spec});
  const auto refused = Commands<JobRefused>();
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].why, Refusal::kDeadlinePassed);
  EXPECT_EQ(scheduler_.job_count(), 0u);
}

TEST_F(SchedulerTest, AThousandTenantsWithOneJobEachAllEnd) {
  AttachMedia();
  AttachWorker(1, 8, 1024, 1);
  for (JobId id = 1; id <= 1000; ++id) Submit(id, static_cast<TenantId>(id), 1);
  while (!out_.empty()) Finish(out_.front().replica);
  EXPECT_EQ(Commands<JobFinished>().size(), 1000u);
  EXPECT_EQ(scheduler_.job_count(), 0u);
}

TEST_F(SchedulerTest, ARemovedTenantsJobsAreRefusedWhetherTheyWaitOrRun) {
  AttachWorker(1, 2, 1024, 1);
  for (JobId id = 1; id <= 5; ++id) Submit(id, 1);
  Submit(6, 2);
  Send(TenantRemoved{1});
  const auto refused = Commands<JobRefused>();
  ASSERT_EQ(refused.size(), 5u);
  for (const JobRefused& of : refused) EXPECT_EQ(of.why, Refusal::kTenantRemoved);
  EXPECT_EQ(scheduler_.job_count(), 1u);
  // What was under way comes back, concerns nobody, and the other tenant goes on.
  Finish(1);
  ASSERT_FALSE(out_.empty());
  EXPECT_EQ(out_.front().items.at(0).job, 6u);
}

TEST_F(SchedulerTest, AReplicaThatVanishesMidQuantumCostsItsTenantsNothing) {
  AttachWorker(1, 8, 1024, 1);
  Submit(7);
  EXPECT_GT(scheduler_.VirtualTime(1), 0);
  const RunPlan lost = out_.front();
  out_.clear();
  Send(ReplicaLost{1});
  EXPECT_EQ(scheduler_.VirtualTime(1), 0);
  EXPECT_EQ(Commands<JobRequeued>().size(), 1u);
  // Its report comes too late for anybody.
  Send(PlanFinished{1, lost.sequence, 1000, {{7, PlanFinished::Outcome::kDone, true}}});
  EXPECT_TRUE(Commands<Charge>().empty());
  AttachWorker(2, 8, 1024, 1);
  ASSERT_EQ(out_.size(), 1u);
  EXPECT_EQ(out_.front().stage, Stage::kEncode);
}

TEST_F(SchedulerTest, AQuantumOfNegativeTimeCostsNothing) {
  AttachWorker(1, 8, 1024, 1);
  Submit(7);
  Finish(1, -1'000'000'000);
  EXPECT_TRUE(Commands<Charge>().empty());
  EXPECT_EQ(out_.size(), 1u);
}

TEST_F(SchedulerTest, AClockThatStandsStillOrJumpsEndsEveryJob) {
  AttachMedia();
  AttachWorker(1);
  for (JobId id = 1; id <= 20; ++id) Submit(id, static_cast<TenantId>(id % 3));
  for (int event = 0; !out_.empty(); ++event) {
    now_ = event % 3 == 0 ? 5 : event % 3 == 1 ? int64_t{1} << 60 : 0;
    Finish(out_.front().replica);
  }
  EXPECT_EQ(Commands<JobFinished>().size(), 20u);
  EXPECT_EQ(scheduler_.job_count(), 0u);
}

}  // namespace
}  // namespace darkroom::scheduler
