#include "scheduler/event_check.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "gtest/gtest.h"
#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

std::string Reason(const Event& event) { return ErrorReason(CheckEvent(event)); }

TEST(EventCheckTest, RefusesWeightsThatAreNone) {
  for (const double weight : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(Reason(TenantWeight{1, weight}), "TENANT_WEIGHT_INVALID") << weight;
  }
  EXPECT_TRUE(CheckEvent(TenantWeight{1, 0.001}).ok());
}

TEST(EventCheckTest, RefusesLimitsThatAreNone) {
  EXPECT_EQ(Reason(TenantLimits{1, -1}), "TENANT_LIMITS_INVALID");
  EXPECT_EQ(Reason(TenantLimits{1, 0, 0, std::nan(""), 1}), "TENANT_LIMITS_INVALID");
  EXPECT_EQ(Reason(TenantLimits{1, 0, 0, 1, 0.5}), "TENANT_LIMITS_INVALID");
  EXPECT_TRUE(CheckEvent(TenantLimits{1, 10, 2, 0.5, 4}).ok());
}

TEST(EventCheckTest, RefusesJobsOutOfRange) {
  JobSpec spec;
  EXPECT_TRUE(CheckEvent(JobSubmitted{spec}).ok());
  for (const auto& breaks :
       {+[](JobSpec& s) { s.steps = 0; }, +[](JobSpec& s) { s.steps = kStepsMax + 1; },
        +[](JobSpec& s) { s.segments = 0; }, +[](JobSpec& s) { s.step_tokens = 0; },
        +[](JobSpec& s) { s.step_tokens = -5; },
        +[](JobSpec& s) { s.image_tokens = kTokensMax + 1; }, +[](JobSpec& s) { s.stages = 0; }}) {
    JobSpec broken = spec;
    breaks(broken);
    EXPECT_EQ(Reason(JobSubmitted{broken}), "JOB_INVALID");
  }
}

TEST(EventCheckTest, RefusesGangsThatLoadWeightsOrTakePlansBack) {
  ReplicaSpec spec;
  spec.weights_bytes = 20;
  spec.revokes = true;
  EXPECT_TRUE(CheckEvent(ReplicaAttached{1, spec}).ok());
  spec.gang = 0;
  EXPECT_EQ(Reason(ReplicaAttached{1, spec}), "GANG_INVALID");
  spec.weights_bytes = 0;
  EXPECT_EQ(Reason(ReplicaAttached{1, spec}), "GANG_INVALID");
  spec.revokes = false;
  EXPECT_TRUE(CheckEvent(ReplicaAttached{1, spec}).ok());
  spec.weights_bytes = 20;
  EXPECT_EQ(Reason(ReplicaAttached{1, spec}), "GANG_INVALID");
}

TEST(EventCheckTest, RefusesRanksAndDegreesOutOfRange) {
  ReplicaSpec spec;
  spec.gang = 3;
  spec.gang_rank = kGangMax - 1;
  spec.degrees = {{2, {}, {}}, {kGangMax, {}, {}}};
  EXPECT_TRUE(CheckEvent(ReplicaAttached{1, spec}).ok());
  for (const auto& breaks :
       {+[](ReplicaSpec& s) { s.gang_rank = -1; }, +[](ReplicaSpec& s) { s.gang_rank = kGangMax; },
        +[](ReplicaSpec& s) { s.degrees[0].degree = 3; },
        +[](ReplicaSpec& s) { s.degrees[0].degree = 1; },
        +[](ReplicaSpec& s) { s.degrees[1].degree = 2 * kGangMax; },
        +[](ReplicaSpec& s) {
          s.degrees.resize(kDegreesMax + 1, {2, {}, {}});
        }}) {
    ReplicaSpec broken = spec;
    breaks(broken);
    EXPECT_EQ(Reason(ReplicaAttached{1, broken}), "REPLICA_INVALID");
  }
}

TEST(EventCheckTest, RefusesCountsThatAreNone) {
  CostErrorKnown known;
  EXPECT_EQ(Reason(known), "COST_ERROR_INVALID");
  known.counts.assign(CostError::kBuckets, 1);
  EXPECT_TRUE(CheckEvent(known).ok());
  known.counts[1] = -1;
  EXPECT_EQ(Reason(known), "COST_ERROR_INVALID");
  known.counts[1] = kCostErrorJobsMax + 1;
  EXPECT_EQ(Reason(known), "COST_ERROR_INVALID");
}

TEST(EventCheckTest, AnInvalidEventChangesNothing) {
  Scheduler scheduler;
  std::vector<Command> commands;
  JobSpec spec;
  spec.id = 9;
  spec.steps = 0;
  scheduler.Handle(JobSubmitted{spec}, 1, commands);
  ASSERT_EQ(commands.size(), 1u);
  EXPECT_EQ(std::get<JobRefused>(commands[0]).why, Refusal::kInvalid);
  EXPECT_EQ(scheduler.job_count(), 0u);
  scheduler.Handle(TenantWeight{1, std::nan("")}, 2, commands);
  scheduler.Handle(ReplicaAttached{1, {.slots = -1}}, 3, commands);
  EXPECT_EQ(commands.size(), 1u);
}

}  // namespace
}  // namespace darkroom::scheduler
