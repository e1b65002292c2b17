// Steps that are cut between transformer blocks: bits are those of whole steps, whoever a job is
// with in each part, and what waits inside a step is bounded and gone when its job is.

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "device/cpu/cpu_ops.h"
#include "gtest/gtest.h"
#include "model/diffusion_pipeline.h"
#include "testing/pipeline_driver.h"
#include "testing/reference_ops.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using testing::DecodeSlot;
using testing::DenoiseJobs;
using testing::LatentsOf;
using testing::OpenRequest;
using testing::PipelineResult;
using testing::RunAlone;

struct Job {
  v1::OpenSlot open;
  PipelineResult alone;
  PipelineResult together;
  int step = 0;
  int block = 0;
};

std::unique_ptr<Pipeline> Load(const std::string& path, Ops& ops, int slots,
                               int64_t step_tokens_max = 0) {
  auto pipeline = LoadPipeline(
      path, LoadOptions{.name = "models/tiny", .slots = slots, .step_tokens_max = step_tokens_max},
      ops);
  EXPECT_TRUE(pipeline.ok()) << pipeline.status();
  return *std::move(pipeline);
}

// Blocks [first, last) of the jobs' steps; checkpoints where that ends them.
std::vector<JobOutcome> RunBlocks(Pipeline& pipeline, const std::vector<Job*>& jobs, int first,
                                  int last) {
  v1::BatchPlan plan;
  plan.mutable_segments()->set_first(first);
  plan.mutable_segments()->set_last(last);
  std::vector<int> live;
  for (const Job* job : jobs) {
    live.push_back(plan.jobs_size());
    v1::PlanJob& entry = *plan.add_jobs();
    entry.set_slot(job->open.slot());
    entry.set_step_index(job->step);
    entry.mutable_returns()->set_checkpoint(last == pipeline.blocks());
  }
  std::vector<JobOutcome> outcomes(jobs.size());
  EXPECT_TRUE(pipeline.Denoise(plan, live, absl::MakeSpan(outcomes)).ok());
  return outcomes;
}

class CutSteps {
 public:
  CutSteps(Pipeline& pipeline, int slots, uint32_t seed)
      : pipeline_(pipeline), random_(seed), running_(static_cast<size_t>(slots), nullptr) {}

  // Parts of random length, in random company among those that are at the same block.
  void Run(std::vector<Job>& jobs) {
    for (Job& job : jobs) waiting_.push_back(&job);
    while (!waiting_.empty() || std::any_of(running_.begin(), running_.end(),
                                            [](const Job* job) { return job != nullptr; })) {
      ASSERT_NO_FATAL_FAILURE(Fill());
      ASSERT_NO_FATAL_FAILURE(RunSome());
    }
  }
  int parts() const { return parts_; }
  int shared_parts() const { return shared_parts_; }

 private:
  int Below(int count) { return static_cast<int>(random_() % static_cast<uint32_t>(count)); }

  void Fill() {
    for (size_t slot = 0; slot < running_.size() && !waiting_.empty(); ++slot) {
      if (running_[slot] != nullptr || Below(3) == 0) continue;
      running_[slot] = waiting_.back();
      waiting_.pop_back();
      running_[slot]->open.set_slot(static_cast<uint32_t>(slot));
      ASSERT_TRUE(pipeline_.Open(running_[slot]->open, {}, {}).ok());
    }
  }
  void RunSome() {
    const Job* lead = running_[random_() % running_.size()];
    if (lead == nullptr) return;
    const int first = lead->block;
    const int last = first + 1 + Below(pipeline_.blocks() - first);
    std::vector<Job*> batch;
    for (Job* job : running_) {
      if (job != nullptr && job->block == first && Below(4) != 0) batch.push_back(job);
    }
    std::shuffle(batch.begin(), batch.end(), random_);
    const std::vector<JobOutcome> outcomes = RunBlocks(pipeline_, batch, first, last);
    parts_ += last - first < pipeline_.blocks();
    shared_parts_ += last - first < pipeline_.blocks() && batch.size() > 1;
    for (size_t i = 0; i < batch.size(); ++i) {
      ASSERT_TRUE(outcomes[i].status.ok()) << outcomes[i].status;
      Advance(*batch[i], last, outcomes[i]);
    }
  }
  void Advance(Job& job, int last, const JobOutcome& outcome) {
    job.block = last % pipeline_.blocks();
    if (job.block > 0) return;
    job.together.latents.push_back(LatentsOf(outcome));
    if (++job.step < job.open.steps()) return;
    job.together.pixels = DecodeSlot(pipeline_, job.open.slot()).output.bytes();
    pipeline_.Close(job.open.slot(), Below(2) == 0);
    running_[job.open.slot()] = nullptr;
  }

  Pipeline& pipeline_;
  std::mt19937 random_;
  std::vector<Job*> running_;
  std::vector<Job*> waiting_;
  int parts_ = 0;
  int shared_parts_ = 0;
};

// Runs the jobs alone in whole steps, then cut and in company.
void CheckCuts(const std::string& path, Ops& alone_ops, Ops& together_ops, std::vector<Job> jobs,
               int64_t step_tokens_max = 0) {
  const auto alone = Load(path, alone_ops, 1);
  for (Job& job : jobs) job.alone = RunAlone(*alone, job.open);
  constexpr int kSlots = 5;
  const auto together = Load(path, together_ops, kSlots, step_tokens_max);
  CutSteps cut(*together, kSlots, 11);
  cut.Run(jobs);
  for (size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_TRUE(jobs[i].alone == jobs[i].together) << "job " << i;
    EXPECT_FALSE(jobs[i].together.pixels.empty());
  }
  EXPECT_GT(cut.parts(), 20) << "too few to have tested anything";
  EXPECT_GT(cut.shared_parts(), 5) << "too few to have tested anything";
  EXPECT_EQ(together->parked_bytes(), 0) << "left behind by jobs that are gone";
}

std::vector<Job> DitJobs() {
  const char* prompts[] = {"goldfish", "Tinca tinca", "hen", "great grey owl"};
  std::mt19937 random(7);
  std::vector<Job> jobs(14);
  for (Job& job : jobs) {
    job.open = OpenRequest(0, 4 * (1 + static_cast<int>(random() % 8)),
                           2 + static_cast<int>(random() % 4), random() % 2 == 0 ? 1.0 : 4.5,
                           static_cast<int64_t>(random()), prompts[random() % 4]);
  }
  return jobs;
}

std::vector<Job> FluxJobs(const v1::Model& model) {
  const char* prompts[] = {"a red apple", "two green apples on a table", "", "red red red"};
  std::mt19937 random(9);
  std::vector<Job> jobs(12);
  const int multiple = model.limits().size_multiple_of();
  for (Job& job : jobs) {
    job.open =
        OpenRequest(0, 0, 2 + static_cast<int>(random() % 3), 1.0 + static_cast<int>(random() % 4),
                    static_cast<int64_t>(random()), prompts[random() % 4]);
    job.open.set_width(multiple * static_cast<int>(2 + random() % 6));
    job.open.set_height(multiple * static_cast<int>(2 + random() % 6));
    job.open.set_sampler("flow_match_euler");
    job.open.set_max_sequence_length(random() % 2 == 0 ? 24 : 40);
    if (random() % 2 == 0) continue;
    job.open.set_negative_prompt("blurry");
    job.open.set_true_cfg_scale(3.5);
  }
  return jobs;
}

class SegmentsTest : public ::testing::Test {
 protected:
  SegmentsTest() {
    testing::TinyDitModel model;
    model.layers = 4;
    model.Build().Write(folder_);
  }
  testing::TempFolder folder_;
  const std::string flux_ = DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_dev/model";
};

TEST_F(SegmentsTest, SameBitsOnTheReference) {
  testing::ReferenceOps alone(/*poison=*/false);
  testing::ReferenceOps together(/*poison=*/true);
  CheckCuts(folder_.path(), alone, together, DitJobs());
}

TEST_F(SegmentsTest, SameBitsOnTheCpuWithAnyNumberOfThreads) {
  for (const int threads : {1, 3}) {
    CheckCuts(folder_.path(), *CreateCpuOps(1), *CreateCpuOps(threads), DitJobs());
  }
}

TEST_F(SegmentsTest, SameBitsOfFlux) {
  const auto ops = CreateCpuOps(2);
  const std::vector<Job> jobs = FluxJobs(Load(flux_, *ops, 1)->model());
  CheckCuts(flux_, *CreateCpuOps(1), *ops, jobs);
}

TEST_F(SegmentsTest, GoesOnFromTheBlockWhereItWas) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(folder_.path(), ops, 2);
  ASSERT_EQ(pipeline->blocks(), 4);
  Job job{.open = OpenRequest(0, 16, 2, 4.5, 1)};
  ASSERT_TRUE(pipeline->Open(job.open, {}, {}).ok());
  ASSERT_TRUE(RunBlocks(*pipeline, {&job}, 0, 2)[0].status.ok());
  for (const auto& [first, last] : {std::pair(0, 2), {0, 4}, {1, 3}, {3, 4}}) {
    EXPECT_EQ(ErrorReason(RunBlocks(*pipeline, {&job}, first, last)[0].status),
              "SEGMENTS_OUT_OF_ORDER")
        << first;
  }
  EXPECT_EQ(ErrorReason(RunBlocks(*pipeline, {&job}, 2, 5)[0].status), "SEGMENTS_INVALID");
  EXPECT_EQ(ErrorReason(DenoiseJobs(*pipeline, {{0, 0}})[0].status), "SEGMENTS_OUT_OF_ORDER");
  EXPECT_EQ(ErrorReason(DecodeSlot(*pipeline, 0).status), "STEP_INVALID");
  EXPECT_TRUE(RunBlocks(*pipeline, {&job}, 2, 4)[0].status.ok());
}

// Another guidance would be another number of rows.
TEST_F(SegmentsTest, AStepKeepsTheValuesThatItBeganWith) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(folder_.path(), ops, 1);
  const Job job{.open = OpenRequest(0, 16, 1, 4.5, 1)};
  const PipelineResult whole = RunAlone(*pipeline, job.open);
  ASSERT_TRUE(pipeline->Open(job.open, {}, {}).ok());
  v1::BatchPlan plan;
  plan.mutable_segments()->set_last(1);
  plan.add_jobs();
  std::vector<JobOutcome> outcomes(1);
  ASSERT_TRUE(pipeline->Denoise(plan, {0}, absl::MakeSpan(outcomes)).ok());
  ASSERT_TRUE(outcomes[0].status.ok()) << outcomes[0].status;
  plan.mutable_segments()->set_first(1);
  plan.mutable_segments()->set_last(4);
  plan.mutable_jobs(0)->set_guidance_scale(1);
  for (const double sigma : {700, 100}) plan.mutable_jobs(0)->add_sigmas(sigma);
  plan.mutable_jobs(0)->mutable_returns()->set_checkpoint(true);
  ASSERT_TRUE(pipeline->Denoise(plan, {0}, absl::MakeSpan(outcomes)).ok());
  EXPECT_EQ(LatentsOf(outcomes[0]), whole.latents[0]);
}

TEST_F(SegmentsTest, WhatIsParkedIsCountedAndBounded) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(folder_.path(), ops, 4);
  std::vector<Job> jobs(4);
  const int size = pipeline->model().limits().size_max();
  for (uint32_t i = 0; i < jobs.size(); ++i) {
    jobs[i].open = OpenRequest(i, i == 3 ? 4 : size, 2, 4.5, 1);
    ASSERT_TRUE(pipeline->Open(jobs[i].open, {}, {}).ok());
  }
  EXPECT_EQ(pipeline->parked_bytes(), 0);
  ASSERT_TRUE(RunBlocks(*pipeline, {&jobs[0]}, 0, 1)[0].status.ok());
  const int64_t one = pipeline->parked_bytes();
  EXPECT_GT(one, 0);
  // A whole step needs no room.
  EXPECT_TRUE(DenoiseJobs(*pipeline, {{1, 0}})[0].status.ok());
  EXPECT_EQ(pipeline->parked_bytes(), one);
  ASSERT_TRUE(RunBlocks(*pipeline, {&jobs[2]}, 0, 1)[0].status.ok());
  EXPECT_EQ(pipeline->parked_bytes(), 2 * one) << "every slot may hold one of the largest";
  // Between two steps it keeps its room for the next.
  ASSERT_TRUE(RunBlocks(*pipeline, {&jobs[0]}, 1, 4)[0].status.ok());
  EXPECT_EQ(pipeline->parked_bytes(), 2 * one);
  pipeline->Close(0, true);
  pipeline->Close(2, true);
  EXPECT_EQ(pipeline->parked_bytes(), 0);
  ASSERT_TRUE(RunBlocks(*pipeline, {&jobs[3]}, 0, 1)[0].status.ok());
  EXPECT_LT(pipeline->parked_bytes(), one);
  // What was closed inside a step begins anew.
  ASSERT_TRUE(pipeline->Open(jobs[2].open, {}, {}).ok());
  EXPECT_EQ(ErrorReason(RunBlocks(*pipeline, {&jobs[2]}, 1, 2)[0].status), "SEGMENTS_OUT_OF_ORDER");
  EXPECT_TRUE(DenoiseJobs(*pipeline, {{2, 0}})[0].status.ok());
}

TEST_F(SegmentsTest, MemoryThatRanOutIsTheJobsFailure) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(folder_.path(), ops, 2);
  Job job{.open = OpenRequest(0, 16, 2, 4.5, 1)};
  ASSERT_TRUE(pipeline->Open(job.open, {}, {}).ok());
  ASSERT_TRUE(testing::EncodeSlot(*pipeline, 0).status.ok());
  ops.FailNextAllocation();
  EXPECT_EQ(ErrorReason(RunBlocks(*pipeline, {&job}, 0, 1)[0].status), "OUT_OF_MEMORY");
  EXPECT_EQ(pipeline->parked_bytes(), 0);
  EXPECT_TRUE(RunBlocks(*pipeline, {&job}, 0, 1)[0].status.ok());
}

}  // namespace
}  // namespace darkroom
