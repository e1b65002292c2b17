#include "model/denoisers/denoiser.h"

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(DenoiserTest, GuidedAboveOneOnly) {
  StepJob job;
  EXPECT_FALSE(job.guided());
  job.cfg_scale = 0.5f;
  EXPECT_FALSE(job.guided());
  job.cfg_scale = 1.01f;
  EXPECT_TRUE(job.guided());
}

// Every field of a job's step ends in the launch descriptor; each has a value of its own here, so
// that two that are swapped are found.
TEST(DenoiserTest, UpdateSaysWhatTheStepSays) {
  float memory[8] = {};
  StepJob job;
  job.latents = {.data = &memory[0], .channels = 4, .height = 2, .width = 3, .pad = 0};
  job.history = &memory[1];
  job.denoised = &memory[2];
  job.mask = &memory[3];
  job.known = &memory[4];
  job.noise = &memory[5];
  job.cfg_scale = 1.5f;
  job.evaluation = {.timestep = 1,
                    .sigma = 2,
                    .sample = 3,
                    .model = 4,
                    .history = 5,
                    .history_sample = 6,
                    .history_model = 7,
                    .denoised_sample = 8,
                    .denoised_model = 9,
                    .known = 10,
                    .noise = 11};
  const SamplerUpdate update = MakeUpdate(job, 12, 13);
  EXPECT_EQ(update.latents.data, &memory[0]);
  EXPECT_EQ(update.latents.width, 3);
  EXPECT_EQ(update.history, &memory[1]);
  EXPECT_EQ(update.denoised, &memory[2]);
  EXPECT_EQ(update.mask, &memory[3]);
  EXPECT_EQ(update.known, &memory[4]);
  EXPECT_EQ(update.noise, &memory[5]);
  EXPECT_EQ(update.guidance, 1.5f);
  EXPECT_EQ(update.sample, 3);
  EXPECT_EQ(update.model, 4);
  EXPECT_EQ(update.history_in, 5);
  EXPECT_EQ(update.history_sample, 6);
  EXPECT_EQ(update.history_model, 7);
  EXPECT_EQ(update.denoised_sample, 8);
  EXPECT_EQ(update.denoised_model, 9);
  EXPECT_EQ(update.known_weight, 10);
  EXPECT_EQ(update.noise_weight, 11);
  EXPECT_EQ(update.conditional_row, 12);
  EXPECT_EQ(update.unconditional_row, 13);
}

}  // namespace
}  // namespace darkroom
