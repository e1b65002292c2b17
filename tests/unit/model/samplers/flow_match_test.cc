#include "model/samplers/flow_match.h"

#include <cmath>

#include "base/denoise_steps.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

// Numbers are compared with diffusers' in tests/golden.

absl::StatusOr<FlowMatchConfig> Read(const std::string& text, bool heun = false) {
  const Json json = Json::parse(text);
  ConfigReader reader(json, "scheduler_config.json");
  return heun ? ReadFlowMatchHeunConfig(reader) : ReadFlowMatchEulerConfig(reader);
}

// Where one latent ends when the model answers every evaluation with `slope(x, sigma)`.
template <typename Slope>
double Follow(const Schedule& schedule, double x, Slope slope) {
  double kept = 0;
  for (const Evaluation& e : schedule.evaluations) {
    const double m = slope(x, e.sigma);
    const double next = e.sample * x + e.model * m + e.history * kept;
    kept = e.history_sample * x + e.history_model * m;
    x = next;
  }
  return x;
}

TEST(FlowMatchConfigTest, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"use_karras_sigmas": true})", "use_karras_sigmas"},
      {R"({"use_exponential_sigmas": true})", "use_exponential_sigmas"},
      {R"({"use_beta_sigmas": true})", "use_beta_sigmas"},
      {R"({"invert_sigmas": true})", "invert_sigmas"},
      {R"({"stochastic_sampling": true})", "stochastic_sampling"},
      {R"({"time_shift_type": "cubic"})", "time_shift_type"},
      {R"({"shift": 0})", "shift"},
      {R"({"shift": "three"})", "shift"},
      {R"({"shift_terminal": 1})", "shift_terminal"},
      {R"({"num_train_timesteps": 0})", "num_train_timesteps"},
      {R"({"use_dynamic_shifting": true, "max_image_seq_len": 256})", "more than base_image"},
      {R"({"sigma_max": 1.0})", "sigma_max is not a known field"},
  };
  for (const auto& [text, problem] : cases) {
    const absl::Status status = Read(text).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(problem)) << text;
  }
  EXPECT_TRUE(Read("{}").ok());
  EXPECT_TRUE(Read("{}", true).ok());
  EXPECT_FALSE(Read(R"({"use_dynamic_shifting": true})", true).ok());
}

TEST(FlowMatchTest, LevelsFallFromOneToNothing) {
  for (const bool dynamic : {false, true}) {
    for (const double shift : {1.0, 3.0}) {
      for (const int steps : {1, 2, 7, 50}) {
        const FlowMatchConfig config{.shift = shift, .dynamic_shifting = dynamic};
        const std::vector<float> sigmas = FlowMatchSigmas(config, steps, 1024);
        ASSERT_EQ(sigmas.size(), static_cast<size_t>(steps) + 1);
        EXPECT_EQ(sigmas.front(), 1.0f);
        EXPECT_EQ(sigmas.back(), 0.0f);
        for (int i = 0; i < steps; ++i) {
          EXPECT_GT(sigmas[static_cast<size_t>(i)], sigmas[static_cast<size_t>(i) + 1]);
        }
      }
    }
  }
}

TEST(FlowMatchTest, LargerPicturesStayLongerAtHighNoise) {
  const FlowMatchConfig config{.dynamic_shifting = true};
  float before = 0;
  for (const int64_t tokens : {64, 256, 1024, 4096}) {
    const float middle = FlowMatchSigmas(config, 10, tokens)[5];
    EXPECT_GT(middle, before) << tokens;
    before = middle;
  }
  // Without it they do not.
  const FlowMatchConfig fixed{.shift = 3.0};
  EXPECT_EQ(FlowMatchSigmas(fixed, 10, 64), FlowMatchSigmas(fixed, 10, 4096));
}

TEST(FlowMatchTest, TerminalLevelIsReached) {
  const FlowMatchConfig config{.dynamic_shifting = true, .shift_terminal = 0.02};
  EXPECT_NEAR(FlowMatchSigmas(config, 8, 1024)[7], 0.02, 1e-6);
}

// With a straight course from noise to picture both methods arrive exactly, in any number of steps.
TEST(FlowMatchTest, StraightCourseEndsAtThePicture) {
  constexpr double kPicture = 0.25;
  constexpr double kNoise = -1.5;
  const auto straight = [](double, double) { return kNoise - kPicture; };
  const FlowMatchConfig config{.shift = 3.0};
  for (const int steps : {1, 2, 5, 28}) {
    EXPECT_NEAR(
        Follow(FlowMatchEulerSampler(config).MakeSchedule(steps, 256, 1.0), kNoise, straight),
        kPicture, 1e-5);
    EXPECT_NEAR(
        Follow(FlowMatchHeunSampler(config).MakeSchedule(steps, 256, 1.0), kNoise, straight),
        kPicture, 1e-5);
  }
}

// dx/dsigma = x: the exact end is x(1) / e. Halving the step halves Euler's error and quarters
// Heun's.
TEST(FlowMatchTest, OrdersOfConvergence) {
  const auto grow = [](double x, double) { return x; };
  const double exact = std::exp(-1.0);
  const auto error = [&](const Sampler& sampler, int steps) {
    return std::abs(Follow(sampler.MakeSchedule(steps, 256, 1.0), 1.0, grow) - exact);
  };
  const FlowMatchEulerSampler euler{FlowMatchConfig{}};
  EXPECT_NEAR(error(euler, 20) / error(euler, 40), 2, 0.15);
  const FlowMatchHeunSampler heun{FlowMatchConfig{}};
  // Its last step is Euler's, at a level so low that it hardly counts.
  EXPECT_NEAR(error(heun, 20) / error(heun, 40), 4, 0.5);
  EXPECT_LT(error(heun, 20), error(euler, 40));
}

TEST(FlowMatchTest, StrengthTakesTheLastSteps) {
  const FlowMatchEulerSampler euler{FlowMatchConfig{.shift = 2.0}};
  const Schedule whole = euler.MakeSchedule(10, 256, 1.0);
  EXPECT_EQ(whole.start_known, 0.0f);
  EXPECT_EQ(whole.start_noise, 1.0f);
  for (const double strength : {0.1, 0.35, 0.6, 0.99}) {
    const Schedule part = euler.MakeSchedule(10, 256, strength);
    ASSERT_EQ(part.evaluations.size(),
              static_cast<size_t>(DenoiseEvaluations(euler.name(), 10, strength)))
        << strength;
    const size_t skipped = whole.evaluations.size() - part.evaluations.size();
    EXPECT_EQ(part.evaluations.front().sigma, whole.evaluations[skipped].sigma);
    EXPECT_FLOAT_EQ(part.start_noise, static_cast<float>(part.evaluations.front().sigma));
    EXPECT_FLOAT_EQ(part.start_known + part.start_noise, 1.0f);
  }
  const FlowMatchHeunSampler heun{FlowMatchConfig{}};
  for (const double strength : {0.2, 0.5, 1.0}) {
    EXPECT_EQ(heun.MakeSchedule(10, 256, strength).evaluations.size(),
              static_cast<size_t>(DenoiseEvaluations(heun.name(), 10, strength)));
  }
}

TEST(FlowMatchTest, WhatIsKeptEndsWithoutNoise) {
  for (const bool heun : {false, true}) {
    const FlowMatchConfig config;
    const Schedule schedule = heun ? FlowMatchHeunSampler(config).MakeSchedule(6, 256, 1.0)
                                   : FlowMatchEulerSampler(config).MakeSchedule(6, 256, 1.0);
    EXPECT_EQ(schedule.evaluations.back().known, 1.0f);
    EXPECT_EQ(schedule.evaluations.back().noise, 0.0f);
    for (const Evaluation& e : schedule.evaluations) EXPECT_FLOAT_EQ(e.known + e.noise, 1.0f);
  }
}

TEST(FlowMatchTest, SingleStepsOfEulerOnly) {
  const FlowMatchEulerSampler euler{FlowMatchConfig{}};
  const auto step = euler.MakeStep(0.75, 0.5);
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(step->model, -0.25f);
  EXPECT_EQ(step->timestep, 750.0f);
  const double nan = std::nan("");
  for (const auto& [sigma, next] : std::vector<std::pair<double, double>>{
           {0.5, 0.5}, {0.5, 0.75}, {1.5, 0.5}, {0.5, -0.1}, {nan, 0.5}, {0.5, nan}}) {
    EXPECT_EQ(ErrorReason(euler.MakeStep(sigma, next).status()), "SIGMAS_INVALID");
  }
  EXPECT_TRUE(
      absl::IsUnimplemented(FlowMatchHeunSampler(FlowMatchConfig{}).MakeStep(0.75, 0.5).status()));
}

}  // namespace
}  // namespace darkroom
