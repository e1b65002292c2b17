#include "model/samplers/dpm_solver.h"

#include <cmath>

#include "base/denoise_steps.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;

// Numbers are compared with diffusers' in tests/golden.

TEST(DpmSolverTest, TimestepsOfEachSpacing) {
  DdimConfig config;
  EXPECT_THAT(DpmSolverSampler(config).Timesteps(4), ElementsAre(800, 600, 400, 200));
  config.steps_offset = 1;
  EXPECT_THAT(DpmSolverSampler(config).Timesteps(4), ElementsAre(801, 601, 401, 201));
  config.timestep_spacing = TimestepSpacing::kTrailing;
  EXPECT_THAT(DpmSolverSampler(config).Timesteps(4), ElementsAre(999, 749, 499, 249));
  config.timestep_spacing = TimestepSpacing::kLinspace;
  EXPECT_THAT(DpmSolverSampler(config).Timesteps(3), ElementsAre(999, 666, 333));
}

TEST(DpmSolverTest, AsManyStepsAsThereIsRoomFor) {
  DdimConfig config;
  config.train_timesteps = 20;
  const DpmSolverSampler sampler(config);
  EXPECT_TRUE(sampler.Timesteps(0).empty());
  EXPECT_TRUE(sampler.Timesteps(20).empty());
  EXPECT_EQ(sampler.steps_max(), 19);
  for (int steps = 1; steps <= sampler.steps_max(); ++steps) {
    EXPECT_EQ(sampler.MakeSchedule(steps, 1, 1.0).evaluations.size(), static_cast<size_t>(steps));
  }
}

// Where every model answers as if there were one picture in the world, the solver must find it,
// whatever the kind of prediction and the number of steps.
TEST(DpmSolverTest, FindsTheOnlyPicture) {
  constexpr double kPicture = 0.7;
  for (const PredictionType type :
       {PredictionType::kEpsilon, PredictionType::kVPrediction, PredictionType::kSample}) {
    DdimConfig config;
    config.prediction_type = type;
    const DpmSolverSampler sampler(config);
    for (const int steps : {1, 2, 3, 20}) {
      double x = 1.3;
      double kept = 0;
      for (const Evaluation& e : sampler.MakeSchedule(steps, 1, 1.0).evaluations) {
        // The clean estimate is linear in the model's output, so it tells what a model says.
        const double m = (kPicture - e.denoised_sample * x) / e.denoised_model;
        const double next = e.sample * x + e.model * m + e.history * kept;
        kept = e.history_sample * x + e.history_model * m;
        EXPECT_NEAR(kept, kPicture, 1e-4);
        x = next;
      }
      EXPECT_NEAR(x, kPicture, 1e-4) << steps;
    }
  }
}

TEST(DpmSolverTest, FirstAndLastStepsNeedNoHistory) {
  const Schedule schedule = DpmSolverSampler(DdimConfig{}).MakeSchedule(5, 1, 1.0);
  EXPECT_EQ(schedule.evaluations.front().history, 0.0f);
  EXPECT_EQ(schedule.evaluations.back().history, 0.0f);
  for (size_t i = 1; i + 1 < 5; ++i) EXPECT_LT(schedule.evaluations[i].history, 0.0f);
  EXPECT_EQ(schedule.evaluations.back().known, 1.0f);
  EXPECT_EQ(schedule.evaluations.back().noise, 0.0f);
}

TEST(DpmSolverTest, StrengthTakesTheLastSteps) {
  const DpmSolverSampler sampler{DdimConfig{}};
  const Schedule whole = sampler.MakeSchedule(10, 1, 1.0);
  for (const double strength : {0.1, 0.5, 0.9}) {
    const Schedule part = sampler.MakeSchedule(10, 1, strength);
    ASSERT_EQ(part.evaluations.size(),
              static_cast<size_t>(DenoiseEvaluations(sampler.name(), 10, strength)));
    EXPECT_EQ(part.evaluations.back().timestep, whole.evaluations.back().timestep);
    // The step that is now the first has none before it.
    EXPECT_EQ(part.evaluations.front().history, 0.0f);
    EXPECT_NEAR(std::hypot(part.start_known, part.start_noise), 1, 1e-6);
  }
}

TEST(DpmSolverTest, NoSingleSteps) {
  EXPECT_TRUE(absl::IsUnimplemented(DpmSolverSampler(DdimConfig{}).MakeStep(999, 500).status()));
}

}  // namespace
}  // namespace darkroom
