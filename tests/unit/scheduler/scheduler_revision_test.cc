#include <deque>
#include <optional>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMs = 1'000'000;

// One replica whose steps take 100 ms, encoding and decoding 10 ms.
class SchedulerRevisionTest : public ::testing::Test {
 protected:
  explicit SchedulerRevisionTest(bool revokes = true, PolicyConfig config = {}, bool moves = false)
      : scheduler_(config) {
    ReplicaSpec spec;
    spec.stages = 0b01111;
    spec.models = {0};
    spec.slots = 8;
    spec.step_tokens_max = 64;  // one job a step
    spec.plans_in_flight_max = 2;
    spec.revokes = revokes;
    spec.moves = moves;
    spec.cost = {{Stage::kEncode, 64, 10 * kMs},
                 {Stage::kDenoise, 64, 100 * kMs},
                 {Stage::kDecode, 64, 10 * kMs}};
    Send(ReplicaAttached{1, spec});
  }

  void Submit(JobId id, int steps, TenantId tenant = 1) {
    JobSpec spec;
    spec.id = id;
    spec.tenant = tenant;
    spec.steps = steps;
    spec.step_tokens = 64;
    spec.image_tokens = 64;
    Send(JobSubmitted{spec});
  }

  void Send(const Event& event) {
    commands_.clear();
    scheduler_.Handle(event, now_ns_, commands_);
    EXPECT_THAT(scheduler_.BrokenInvariants(), ::testing::IsEmpty());
    for (const Command& command : commands_) {
      if (const auto* plan = std::get_if<RunPlan>(&command)) plans_.push_back(*plan);
    }
  }

  std::optional<uint64_t> Revoked() const {
    for (const Command& command : commands_) {
      if (const auto* revoke = std::get_if<RevokePlan>(&command)) return revoke->sequence;
    }
    return std::nullopt;
  }

  // The first plan takes what was predicted.
  void Finish() {
    const RunPlan plan = plans_.front();
    plans_.pop_front();
    now_ns_ += plan.predicted_ns;
    PlanFinished finished{1, plan.sequence, plan.predicted_ns, {}};
    for (const auto& item : plan.items) finished.items.push_back({item.job});
    Send(finished);
  }

  // A job of 50 steps runs one and has the next staged.
  void RunALongJob() {
    Submit(1, 50);
    Finish();  // encoding
    ASSERT_EQ(plans_.size(), 2u);
    now_ns_ += kMs;
  }

  Scheduler scheduler_;
  std::vector<Command> commands_;
  std::deque<RunPlan> plans_;  // the first runs
  int64_t now_ns_ = 0;
};

TEST_F(SchedulerRevisionTest, AShorterJobDoesNotWaitForTheStagedStep) {
  RunALongJob();
  const double before_ns = scheduler_.VirtualTime(1);
  Submit(2, 2, 2);
  ASSERT_EQ(Revoked(), plans_.back().sequence);
  EXPECT_EQ(plans_.size(), 2u) << "no other plan before the answer";
  const RunPlan staged = plans_.back();
  plans_.pop_back();
  Send(PlanRevoked{1, staged.sequence});
  EXPECT_DOUBLE_EQ(scheduler_.VirtualTime(1), before_ns - static_cast<double>(100 * kMs));
  ASSERT_EQ(plans_.size(), 2u);
  EXPECT_EQ(plans_.back().stage, Stage::kEncode);
  EXPECT_EQ(plans_.back().items.at(0).job, 2u);
  EXPECT_GT(plans_.back().sequence, staged.sequence);
  // Job 2 goes to its end, then job 1 goes on with the very step that was taken back.
  for (int i = 0; i < 5; ++i) Finish();
  EXPECT_EQ(plans_.front().items.at(0).job, 1u);
  EXPECT_EQ(plans_.front().items.at(0).step, staged.items.at(0).step);
}

// With a burst credit of half a step, so that steps change who is protected, and jobs that may go
// elsewhere between their steps.
class SchedulerRevisionSharesTest : public SchedulerRevisionTest {
 protected:
  SchedulerRevisionSharesTest() : SchedulerRevisionTest(true, SmallCredit(), true) {}
  static PolicyConfig SmallCredit() {
    PolicyConfig config;
    config.burst_credit_ns = 50 * kMs;
    return config;
  }
  void TakeBackIfAsked() {
    if (!Revoked()) return;
    plans_.pop_back();
    Send(PlanRevoked{1, *Revoked()});
  }
};

TEST_F(SchedulerRevisionSharesTest, WhoIsProtectedAgainWaitsInOneLaneOnly) {
  Send(TenantWeight{1, 10});
  for (const auto& [job, steps, tenant] :
       {std::tuple<JobId, int, TenantId>{3, 40, 2}, {2, 20, 2}, {1, 100, 1}}) {
    Submit(job, steps, tenant);
    TakeBackIfAsked();
    for (int i = 0; i < 4; ++i) Finish();
  }
  // A step of job 1 runs and one of job 2 is staged, which takes its tenant above its share; job 3
  // waits between two steps.
  const auto staged = [&] {
    return plans_.size() == 2 && plans_.front().items.at(0).job == 1 &&
           plans_.back().items.at(0).job == 2 && !scheduler_.ViewOf(2).is_protected;
  };
  for (int i = 0; i < 100 && !staged(); ++i) Finish();
  ASSERT_TRUE(staged());
  now_ns_ += kMs;
  Submit(4, 1, 1);
  ASSERT_TRUE(Revoked());
  TakeBackIfAsked();  // which asks whether every tenant is in the lanes of its protection
  EXPECT_EQ(plans_.back().items.at(0).job, 4u);
  EXPECT_TRUE(scheduler_.ViewOf(2).is_protected);
}

TEST_F(SchedulerRevisionTest, APlanThatHasBegunRuns) {
  RunALongJob();
  Submit(2, 2, 2);
  ASSERT_TRUE(Revoked());
  Finish();
  EXPECT_EQ(plans_.size(), 1u) << "nothing is staged behind a plan whose fate is open";
  Send(PlanBegun{1, plans_.front().sequence});
  ASSERT_EQ(plans_.size(), 2u);
  EXPECT_EQ(plans_.front().items.at(0).job, 1u);
  EXPECT_EQ(plans_.back().items.at(0).job, 2u);
  // Its end says the same.
  Submit(3, 1, 3);
  while (!plans_.empty()) Finish();
  EXPECT_EQ(scheduler_.job_count(), 3u) << "each waits for the media pool";
}

TEST_F(SchedulerRevisionTest, NothingIsTakenBackForALongerJobOrTwiceForOne) {
  RunALongJob();
  Submit(2, 60, 2);
  EXPECT_FALSE(Revoked());
  Submit(3, 2, 2);
  EXPECT_TRUE(Revoked());
  Submit(4, 1, 2);
  EXPECT_FALSE(Revoked()) << "it is asked for already";
}

TEST_F(SchedulerRevisionTest, APlanThatAMemberLeftIsTakenBack) {
  RunALongJob();
  Submit(2, 60, 2);
  Send(JobEnded{1});
  ASSERT_EQ(Revoked(), plans_.back().sequence);
  const RunPlan staged = plans_.back();
  plans_.pop_back();
  Send(PlanRevoked{1, staged.sequence});
  ASSERT_EQ(plans_.size(), 2u);
  EXPECT_EQ(plans_.back().items.at(0).job, 2u);
}

TEST_F(SchedulerRevisionTest, ATooLateOneIsLetRun) {
  RunALongJob();
  now_ns_ += 100 * kMs - kRevisionLeadNs;
  Submit(2, 2, 2);
  EXPECT_FALSE(Revoked());
}

TEST_F(SchedulerRevisionTest, AnswersThatNobodyAskedForChangeNothing) {
  RunALongJob();
  const size_t plans = plans_.size();
  for (const ReplicaId replica : {1, 2}) {
    for (const uint64_t sequence : {uint64_t{0}, plans_.back().sequence, uint64_t{99}}) {
      Send(PlanRevoked{replica, sequence});
      Send(PlanBegun{replica, sequence});
    }
  }
  EXPECT_EQ(plans_.size(), plans);
  Finish();
  EXPECT_EQ(plans_.back().items.at(0).step, 2);
}

class SchedulerWithoutRevisionTest : public SchedulerRevisionTest {
 protected:
  SchedulerWithoutRevisionTest() : SchedulerRevisionTest(false) {}
};

TEST_F(SchedulerWithoutRevisionTest, ReplicasThatCannotAreNotAsked) {
  RunALongJob();
  Submit(2, 2, 2);
  EXPECT_FALSE(Revoked());
}

}  // namespace
}  // namespace darkroom::scheduler
