#include "model/samplers/ddim.h"

#include <cmath>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/limits.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Numbers are compared with diffusers' in tests/golden.

absl::StatusOr<DdimConfig> Read(const std::string& text) {
  const Json json = Json::parse(text);
  ConfigReader reader(json, "scheduler_config.json");
  return ReadDdimConfig(reader);
}

TEST(DdimTest, RefusesWhatIsNotLinearOrNotKnown) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "clip_sample is absent, which means true"},
      {R"({"clip_sample": true})", "clip_sample is true"},
      {R"({"clip_sample": false, "thresholding": true})", "thresholding is true"},
      {R"({"clip_sample": false, "trained_betas": [0.1]})", "trained_betas"},
      {R"({"clip_sample": false, "beta_schedule": "sigmoid"})", "supported: \"linear\""},
      {R"({"clip_sample": false, "prediction_type": "flow"})", "prediction_type"},
      {R"({"clip_sample": false, "timestep_spacing": "karras"})", "timestep_spacing"},
      {R"({"clip_sample": false, "beta_start": 0})", "beta_start"},
      {R"({"clip_sample": false, "beta_end": 1.5})", "beta_end"},
      {R"({"clip_sample": false, "num_train_timesteps": 0})", "num_train_timesteps"},
      {R"({"clip_sample": false, "steps_offset": 1000})", "steps_offset"},
      {R"({"clip_sample": false, "eta": 1})", "eta is not a known field"},
      {R"({"clip_sample": false, "rescale_betas_zero_snr": true})", "divides by zero"},
      {R"({"clip_sample": false, "beta_start": 0.9, "beta_end": 0.99})", "leaves no signal"},
  };
  for (const auto& [text, problem] : cases) {
    const absl::Status status = Read(text).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(problem)) << text;
  }
  EXPECT_TRUE(Read(R"({"clip_sample": false})").ok());
  EXPECT_TRUE(Read(R"({"clip_sample": false, "rescale_betas_zero_snr": true,
                       "prediction_type": "v_prediction"})")
                  .ok());
}

TEST(DdimTest, TimestepsOfEachSpacing) {
  DdimConfig config;
  EXPECT_THAT(DdimSampler(config).Timesteps(4), ElementsAre(750, 500, 250, 0));
  config.steps_offset = 1;
  EXPECT_THAT(DdimSampler(config).Timesteps(4), ElementsAre(751, 501, 251, 1));
  config.timestep_spacing = TimestepSpacing::kTrailing;
  EXPECT_THAT(DdimSampler(config).Timesteps(4), ElementsAre(999, 749, 499, 249));
  config.timestep_spacing = TimestepSpacing::kLinspace;
  EXPECT_THAT(DdimSampler(config).Timesteps(4), ElementsAre(999, 666, 333, 0));
  EXPECT_THAT(DdimSampler(config).Timesteps(1), ElementsAre(0));
}

TEST(DdimTest, EveryOfferedNumberOfStepsRunsInsideTheSchedule) {
  for (const TimestepSpacing spacing :
       {TimestepSpacing::kLeading, TimestepSpacing::kTrailing, TimestepSpacing::kLinspace}) {
    for (const int offset : {0, 1, 3}) {
      for (const int train : {7, 100, 1000}) {
        const DdimSampler sampler(
            {.train_timesteps = train, .timestep_spacing = spacing, .steps_offset = offset});
        ASSERT_GE(sampler.steps_max(), 1);
        for (int steps = 1; steps <= sampler.steps_max(); ++steps) {
          const std::vector<int> timesteps = sampler.Timesteps(steps);
          ASSERT_EQ(timesteps.size(), static_cast<size_t>(steps));
          for (size_t i = 0; i < timesteps.size(); ++i) {
            ASSERT_GE(timesteps[i], 0);
            ASSERT_LT(timesteps[i], i == 0 ? train : timesteps[i - 1])
                << "steps " << steps << " offset " << offset;
          }
        }
        EXPECT_LE(sampler.steps_max(), train);
      }
    }
  }
}

TEST(DdimTest, NumbersOfStepsThatDoNotFit) {
  const DdimSampler plain{DdimConfig()};
  EXPECT_EQ(plain.steps_max(), 1000);
  EXPECT_TRUE(plain.Timesteps(0).empty());
  EXPECT_TRUE(plain.Timesteps(-1).empty());
  EXPECT_TRUE(plain.Timesteps(1001).empty());
  // 1000 steps from an offset of 1 would begin at timestep 1000, which was never trained.
  const DdimSampler offset({.steps_offset = 1});
  EXPECT_EQ(offset.steps_max(), 999);
  EXPECT_TRUE(offset.Timesteps(1000).empty());
}

TEST(DdimTest, TheLastStepGivesTheCleanPrediction) {
  // alpha 1: x0 = signal x - noise m.
  const DdimSampler sampler({.prediction_type = PredictionType::kVPrediction});
  const StepCoefficients step = sampler.Step(500, -1);
  EXPECT_FLOAT_EQ(step.sample, static_cast<float>(std::sqrt(sampler.alpha_cumprod(500))));
  EXPECT_FLOAT_EQ(step.model, static_cast<float>(-std::sqrt(1 - sampler.alpha_cumprod(500))));
}

TEST(DdimTest, AStepToItselfChangesNothing) {
  for (const PredictionType type :
       {PredictionType::kEpsilon, PredictionType::kVPrediction, PredictionType::kSample}) {
    const StepCoefficients step = DdimSampler({.prediction_type = type}).Step(300, 300);
    EXPECT_FLOAT_EQ(step.sample, 1.0f);
    EXPECT_NEAR(step.model, 0.0f, 1e-7f);
  }
}

}  // namespace
}  // namespace darkroom
