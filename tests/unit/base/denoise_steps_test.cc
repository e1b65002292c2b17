#include "base/denoise_steps.h"

#include <gtest/gtest.h>

namespace darkroom {
namespace {

TEST(DenoiseSteps, RunsEveryStepAtFullStrength) {
  EXPECT_EQ(DenoiseEvaluations("flow_match_euler", 28, 1.0), 28);
  EXPECT_EQ(DenoiseEvaluations("ddim", 1, 1.0), 1);
}

// Counts that diffusers 0.35's FluxImg2ImgPipeline.get_timesteps gives.
TEST(DenoiseSteps, CountsAsDiffusersDoes) {
  EXPECT_EQ(SkippedSteps(28, 0.6), 11);
  EXPECT_EQ(DenoiseEvaluations("flow_match_euler", 28, 0.6), 17);
  EXPECT_EQ(DenoiseEvaluations("flow_match_euler", 10, 0.6), 6);
  EXPECT_EQ(DenoiseEvaluations("flow_match_euler", 4, 0.9), 4);
  EXPECT_EQ(DenoiseEvaluations("flow_match_euler", 50, 0.02), 1);
}

TEST(DenoiseSteps, TellsWhenNothingIsLeft) {
  EXPECT_EQ(DenoiseEvaluations("flow_match_euler", 50, 0.0), 0);
  EXPECT_EQ(DenoiseEvaluations("flow_match_heun", 50, 0.0), 0);
}

TEST(DenoiseSteps, RunsASecondOrderSamplerTwicePerStepButTheLast) {
  EXPECT_EQ(DenoiseEvaluations("flow_match_heun", 10, 1.0), 19);
  EXPECT_EQ(DenoiseEvaluations("flow_match_heun", 10, 0.5), 9);
}

}  // namespace
}  // namespace darkroom
