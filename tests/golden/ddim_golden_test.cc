#include <cmath>

#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "model/config_reader.h"
#include "model/samplers/ddim.h"

namespace darkroom::golden {
namespace {

// float32 rounds in a few places of diffusers' step and once in ours.
constexpr double kTolerance = 1e-6;

void CompareSteps(const Fixture& fixture, const Json& variant, const DdimSampler& sampler) {
  const std::string name = variant.at("name").get<std::string>();
  const int steps = variant.at("num_inference_steps").get<int>();
  const std::vector<int> timesteps = sampler.Timesteps(steps);
  EXPECT_EQ(timesteps, variant.at("timesteps").get<std::vector<int>>());
  EXPECT_NEAR(sampler.alpha_cumprod(-1), variant.at("final_alpha_cumprod").get<double>(),
              kTolerance);

  const std::vector<float> sample = fixture.Floats("sample");
  const std::vector<float> model_output = fixture.Floats("model_output");
  const std::vector<float> alphas = fixture.Floats(name + ".alphas_cumprod");
  const std::vector<float> expected = fixture.Floats(name + ".prev_sample");
  ASSERT_EQ(alphas.size(), timesteps.size());
  ASSERT_EQ(expected.size(), timesteps.size() * sample.size());
  for (size_t i = 0; i < timesteps.size(); ++i) {
    EXPECT_NEAR(sampler.alpha_cumprod(timesteps[i]), alphas[i], kTolerance * alphas[i]) << i;
    const StepCoefficients step =
        sampler.Step(timesteps[i], sampler.PreviousTimestep(timesteps[i], steps));
    std::vector<float> next(sample.size());
    for (size_t j = 0; j < sample.size(); ++j) {
      next[j] = step.sample * sample[j] + step.model * model_output[j];
    }
    const std::vector<float> due(expected.begin() + static_cast<int64_t>(i * sample.size()),
                                 expected.begin() + static_cast<int64_t>((i + 1) * sample.size()));
    EXPECT_LE(MaxDifference(next, due), kTolerance * std::max(1.0, MaxMagnitude(due)))
        << "step " << i << " at timestep " << timesteps[i];
  }
}

TEST(DdimGoldenTest, EveryVariantMatchesDiffusers) {
  const Fixture fixture("ddim/ddim.json");
  int compared = 0;
  for (const Json& variant : fixture.json().at("variants")) {
    const std::string name = variant.at("name").get<std::string>();
    SCOPED_TRACE(name);
    ConfigReader reader(variant.at("config"), name);
    const absl::StatusOr<DdimConfig> config = ReadDdimConfig(reader);
    if (variant.at("config").at("clip_sample").get<bool>()) {
      EXPECT_FALSE(config.ok());
      EXPECT_NE(config.status().message().find("clip_sample is true, which is not supported"),
                std::string::npos)
          << config.status();
      continue;
    }
    ASSERT_TRUE(config.ok()) << config.status();
    CompareSteps(fixture, variant, DdimSampler(*config));
    ++compared;
  }
  EXPECT_GE(compared, 17);
}

}  // namespace
}  // namespace darkroom::golden
