#include "worker/plan_check.h"

#include <memory>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

constexpr int32_t kBlocks = 6;

PlanEntry Held(uint32_t slot, uint64_t tenant_tag) {
  PlanEntry entry;
  entry.lease = std::make_shared<Lease>(slot, 1, tenant_tag);
  entry.lease->open = true;
  entry.lease->steps = 4;
  return entry;
}

v1::BatchPlan Denoise(int jobs) {
  v1::BatchPlan plan;
  plan.set_stage(v1::STAGE_DENOISE);
  for (int i = 0; i < jobs; ++i) plan.add_jobs();
  return plan;
}

TEST(PlanCheckTest, AnExclusiveJobBatchesWithItsOwnTenantOnly) {
  v1::BatchPlan plan = Denoise(2);
  plan.mutable_jobs(0)->set_isolation(v1::ISOLATION_LEVEL_EXCLUSIVE_BATCH);
  const std::vector<PlanEntry> mixed = {Held(0, 1), Held(1, 2)};
  EXPECT_EQ(ErrorReason(CheckEntry(plan, mixed, 0, kBlocks)), "ISOLATION_BROKEN");
  const std::vector<PlanEntry> own = {Held(0, 1), Held(1, 1)};
  EXPECT_TRUE(CheckEntry(plan, own, 0, kBlocks).ok());
  plan.mutable_jobs(0)->set_isolation(v1::ISOLATION_LEVEL_SHARED);
  EXPECT_TRUE(CheckEntry(plan, mixed, 0, kBlocks).ok());
}

TEST(PlanCheckTest, ASharedJobBesideAnExclusiveOneIsNotItsFault) {
  v1::BatchPlan plan = Denoise(2);
  plan.mutable_jobs(1)->set_isolation(v1::ISOLATION_LEVEL_DEDICATED);
  const std::vector<PlanEntry> mixed = {Held(0, 1), Held(1, 2)};
  EXPECT_TRUE(CheckEntry(plan, mixed, 0, kBlocks).ok());
  EXPECT_EQ(ErrorReason(CheckEntry(plan, mixed, 1, kBlocks)), "ISOLATION_BROKEN");
}

TEST(PlanCheckTest, StepsRunInOrderFromTheFirst) {
  v1::BatchPlan plan = Denoise(1);
  const std::vector<PlanEntry> entries = {Held(0, 1)};
  entries[0].lease->next_step = 2;
  for (int step = -1; step <= 5; ++step) {
    plan.mutable_jobs(0)->set_step_index(step);
    EXPECT_EQ(CheckEntry(plan, entries, 0, kBlocks).ok(), step == 2) << step;
  }
  entries[0].lease->next_step = 4;
  plan.mutable_jobs(0)->set_step_index(4);
  EXPECT_FALSE(CheckEntry(plan, entries, 0, kBlocks).ok()) << "beyond the last";
}

TEST(PlanCheckTest, AResumedJobIsEncodedBeforeItsFirstStepOnly) {
  v1::BatchPlan plan = Denoise(1);
  plan.set_stage(v1::STAGE_ENCODE);
  const std::vector<PlanEntry> entries = {Held(0, 1)};
  entries[0].lease->first_step = 2;
  entries[0].lease->next_step = 2;
  EXPECT_TRUE(CheckEntry(plan, entries, 0, kBlocks).ok());
  entries[0].lease->next_step = 3;
  EXPECT_EQ(ErrorReason(CheckEntry(plan, entries, 0, kBlocks)), "STAGE_OUT_OF_ORDER");
}

TEST(PlanCheckTest, SegmentsArePartsOfAStep) {
  v1::BatchPlan plan = Denoise(1);
  const auto reason = [&](v1::Stage stage, int32_t first, int32_t last) {
    plan.set_stage(stage);
    plan.mutable_segments()->set_first(first);
    plan.mutable_segments()->set_last(last);
    return ErrorReason(CheckPlan(plan));
  };
  EXPECT_EQ(reason(v1::STAGE_DENOISE, 0, 0), "");
  EXPECT_EQ(reason(v1::STAGE_DENOISE, 0, 1), "");
  EXPECT_EQ(reason(v1::STAGE_DENOISE, 5, INT32_MAX), "") << "the model is not known here";
  for (const auto& [first, last] : {std::pair(-1, 2), {2, 2}, {3, 2}, {0, -1}, {1, 0}}) {
    EXPECT_EQ(reason(v1::STAGE_DENOISE, first, last), "SEGMENTS_INVALID") << first << " " << last;
  }
  for (const v1::Stage stage : {v1::STAGE_ENCODE, v1::STAGE_IMAGE_ENCODE, v1::STAGE_DECODE}) {
    EXPECT_EQ(reason(stage, 0, 1), "SEGMENTS_INVALID");
    EXPECT_EQ(reason(stage, 0, 0), "");
  }
}

TEST(PlanCheckTest, BlocksRunInOrderAndNothingElseMeanwhile) {
  v1::BatchPlan plan = Denoise(1);
  const std::vector<PlanEntry> entries = {Held(0, 1)};
  Lease& lease = *entries[0].lease;
  const auto reason = [&](int32_t first, int32_t last) {
    plan.mutable_segments()->set_first(first);
    plan.mutable_segments()->set_last(last);
    return ErrorReason(CheckEntry(plan, entries, 0, kBlocks));
  };
  EXPECT_EQ(reason(0, 0), "");
  EXPECT_EQ(reason(0, 6), "");
  EXPECT_EQ(reason(0, 2), "");
  EXPECT_EQ(reason(0, 7), "SEGMENTS_INVALID");
  EXPECT_EQ(reason(1, 2), "SEGMENTS_OUT_OF_ORDER");
  lease.next_block = 2;
  EXPECT_EQ(reason(2, 6), "");
  EXPECT_EQ(reason(2, 3), "");
  EXPECT_EQ(reason(2, INT32_MAX), "SEGMENTS_INVALID");
  EXPECT_EQ(reason(3, 4), "SEGMENTS_OUT_OF_ORDER");
  EXPECT_EQ(reason(0, 0), "SEGMENTS_OUT_OF_ORDER");
  plan.mutable_jobs(0)->mutable_returns()->set_checkpoint(true);
  EXPECT_EQ(reason(2, 3), "RETURNS_INSIDE_STEP");
  EXPECT_EQ(reason(2, 6), "");
  plan.mutable_jobs(0)->mutable_returns()->set_preview(true);
  plan.mutable_jobs(0)->mutable_returns()->set_preview_size_max(64);
  EXPECT_EQ(reason(2, 3), "RETURNS_INSIDE_STEP");
  plan.mutable_segments()->Clear();
  plan.set_stage(v1::STAGE_ENCODE);
  EXPECT_EQ(ErrorReason(CheckEntry(plan, entries, 0, kBlocks)), "STAGE_OUT_OF_ORDER");
  plan.set_stage(v1::STAGE_DECODE);
  EXPECT_EQ(ErrorReason(CheckEntry(plan, entries, 0, kBlocks)), "STAGE_OUT_OF_ORDER");
}

TEST(PlanOrderTest, SequencesRiseWithinAnEpoch) {
  PlanOrder order;
  const auto ok = [&](uint64_t epoch, uint64_t sequence) {
    v1::BatchPlan plan;
    plan.set_gang_epoch(epoch);
    plan.set_sequence(sequence);
    return order.Check(plan).ok();
  };
  EXPECT_TRUE(ok(0, 0));
  EXPECT_FALSE(ok(0, 0));
  EXPECT_TRUE(ok(0, 5));
  EXPECT_FALSE(ok(0, 4));
  EXPECT_TRUE(ok(3, 0));
  EXPECT_FALSE(ok(2, 100));
  EXPECT_TRUE(ok(3, UINT64_MAX));
  EXPECT_FALSE(ok(3, 0));
}

}  // namespace
}  // namespace darkroom
