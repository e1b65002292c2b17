#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "darkroom/pipeline.h"
#include "gtest/gtest.h"

namespace darkroom::testing {

// What one job gave: latents after every step, then pixels.
struct PipelineResult {
  std::vector<std::string> latents;
  std::string pixels;
  bool operator==(const PipelineResult&) const = default;
};

inline v1::OpenSlot OpenRequest(uint32_t slot, int size, int steps, double guidance_scale,
                                int64_t seed, const std::string& prompt = "goldfish") {
  v1::OpenSlot open;
  open.set_slot(slot);
  open.set_width(size);
  open.set_height(size);
  open.set_steps(steps);
  open.set_guidance_scale(guidance_scale);
  open.set_seed(seed);
  open.set_prompt(prompt);
  open.set_sampler("ddim");
  return open;
}

// Runs one packed step of (slot, step) jobs, asking for checkpoints.
inline std::vector<JobOutcome> DenoiseJobs(Pipeline& pipeline,
                                           const std::vector<std::pair<uint32_t, int>>& jobs) {
  v1::BatchPlan plan;
  std::vector<int> live;
  for (const auto& [slot, step] : jobs) {
    live.push_back(plan.jobs_size());
    v1::PlanJob& job = *plan.add_jobs();
    job.set_slot(slot);
    job.set_step_index(step);
    job.mutable_returns()->set_checkpoint(true);
  }
  std::vector<JobOutcome> outcomes(jobs.size());
  EXPECT_TRUE(pipeline.Denoise(plan, live, absl::MakeSpan(outcomes)).ok());
  return outcomes;
}

inline JobOutcome EncodeSlot(Pipeline& pipeline, uint32_t slot) {
  v1::BatchPlan plan;
  plan.add_jobs()->set_slot(slot);
  std::vector<JobOutcome> outcomes(1);
  EXPECT_TRUE(pipeline.Encode(plan, {0}, absl::MakeSpan(outcomes)).ok());
  return outcomes[0];
}

inline JobOutcome DecodeSlot(Pipeline& pipeline, uint32_t slot) {
  v1::BatchPlan plan;
  plan.add_jobs()->set_slot(slot);
  std::vector<JobOutcome> outcomes(1);
  EXPECT_TRUE(pipeline.Decode(plan, {0}, absl::MakeSpan(outcomes)).ok());
  return outcomes[0];
}

// The latents of a step's checkpoint.
inline std::string LatentsOf(const JobOutcome& outcome) {
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  if (outcome.checkpoint_tensors.size() != 1) return "";
  return std::string(outcome.checkpoint_tensors[0].bytes());
}

// One whole job, without company.
inline PipelineResult RunAlone(Pipeline& pipeline, const v1::OpenSlot& open) {
  EXPECT_TRUE(pipeline.Open(open, {}, {}).ok());
  PipelineResult result;
  for (int step = 0; step < open.steps(); ++step) {
    result.latents.push_back(LatentsOf(DenoiseJobs(pipeline, {{open.slot(), step}})[0]));
  }
  const JobOutcome decoded = DecodeSlot(pipeline, open.slot());
  EXPECT_TRUE(decoded.status.ok()) << decoded.status;
  result.pixels = std::string(decoded.output.bytes());
  pipeline.Close(open.slot(), true);
  return result;
}

}  // namespace darkroom::testing
