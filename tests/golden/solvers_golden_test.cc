#include <memory>

#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "model/config_reader.h"
#include "model/samplers/dpm_solver.h"
#include "model/samplers/flow_match.h"

// Whole runs of samplers on recorded model outputs, against diffusers' schedulers.
namespace darkroom::golden {
namespace {

constexpr double kSigmaTolerance = 1e-6;
// diffusers rounds every operation to float32, over up to 50 steps.
constexpr double kLatentsTolerance = 2e-5;

std::unique_ptr<const Sampler> MakeSampler(const Json& run) {
  ConfigReader reader(run.at("config"), run.at("name").get<std::string>());
  const std::string name = run.at("sampler").get<std::string>();
  if (name == "dpm_solver_pp_2m") {
    const auto config = ReadDdimConfig(reader);
    EXPECT_TRUE(config.ok()) << config.status();
    return std::make_unique<DpmSolverSampler>(*config);
  }
  const bool heun = name == "flow_match_heun";
  const auto config = heun ? ReadFlowMatchHeunConfig(reader) : ReadFlowMatchEulerConfig(reader);
  EXPECT_TRUE(config.ok()) << config.status();
  if (heun) return std::make_unique<FlowMatchHeunSampler>(*config);
  return std::make_unique<FlowMatchEulerSampler>(*config);
}

std::vector<float> Part(const std::vector<float>& values, size_t index, size_t size) {
  const auto begin = values.begin() + static_cast<int64_t>(index * size);
  return {begin, begin + static_cast<int64_t>(size)};
}

void CompareRun(const Fixture& fixture, const Json& run) {
  const std::string name = run.at("name").get<std::string>();
  const std::unique_ptr<const Sampler> sampler = MakeSampler(run);
  EXPECT_EQ(sampler->name(), run.at("sampler").get<std::string>());
  const Schedule schedule = sampler->MakeSchedule(
      run.at("steps").get<int>(), run.at("image_tokens").get<int64_t>(), /*strength=*/1.0);
  const std::vector<float> timesteps = fixture.Floats(name + ".timesteps");
  ASSERT_EQ(schedule.evaluations.size(), timesteps.size());

  std::vector<float> sample = fixture.Floats(name + ".sample");
  const std::vector<float> outputs = fixture.Floats(name + ".model_outputs");
  const std::vector<float> after = fixture.Floats(name + ".latents_after");
  std::vector<float> history(sample.size());
  for (size_t i = 0; i < timesteps.size(); ++i) {
    const Evaluation& evaluation = schedule.evaluations[i];
    EXPECT_NEAR(evaluation.timestep, timesteps[i], kSigmaTolerance * 1000) << i;
    if (sampler->name().starts_with("flow_match")) {
      EXPECT_NEAR(evaluation.sigma, timesteps[i] / 1000, kSigmaTolerance) << i;
    }
    const std::vector<float> output = Part(outputs, i, sample.size());
    for (size_t j = 0; j < sample.size(); ++j) {
      const float x = sample[j];
      const float m = output[j];
      sample[j] = evaluation.sample * x + evaluation.model * m + evaluation.history * history[j];
      history[j] = evaluation.history_sample * x + evaluation.history_model * m;
    }
    const std::vector<float> due = Part(after, i, sample.size());
    EXPECT_LE(MaxDifference(sample, due), kLatentsTolerance * std::max(1.0, MaxMagnitude(due)))
        << "evaluation " << i;
  }
}

TEST(SolversGoldenTest, RunsEqualDiffusers) {
  const Fixture fixture("solvers/solvers.json");
  for (const Json& run : fixture.json().at("runs")) {
    SCOPED_TRACE(run.at("name").get<std::string>());
    CompareRun(fixture, run);
  }
  EXPECT_GE(fixture.json().at("runs").size(), 20u);
}

TEST(SolversGoldenTest, FlowMatchSigmasEqualDiffusers) {
  const Fixture fixture("solvers/solvers.json");
  int compared = 0;
  for (const Json& run : fixture.json().at("runs")) {
    const std::string name = run.at("name").get<std::string>();
    if (run.at("sampler") != "flow_match_euler") continue;
    ConfigReader reader(run.at("config"), name);
    const auto config = ReadFlowMatchEulerConfig(reader);
    ASSERT_TRUE(config.ok()) << config.status();
    const std::vector<float> sigmas =
        FlowMatchSigmas(*config, run.at("steps").get<int>(), run.at("image_tokens").get<int64_t>());
    EXPECT_LE(MaxDifference(sigmas, fixture.Floats(name + ".sigmas")), kSigmaTolerance) << name;
    ++compared;
  }
  EXPECT_GE(compared, 8);
}

}  // namespace
}  // namespace darkroom::golden
