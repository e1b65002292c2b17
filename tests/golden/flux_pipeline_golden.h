#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "darkroom/ops.h"
#include "darkroom/pipeline.h"
#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "testing/pipeline_driver.h"

// FLUX.1 from a folder and a prompt to pixels, against diffusers' pipelines in float32: the test,
// for every backend to instantiate.
namespace darkroom::golden {

inline constexpr double kLatentsTolerance = 1e-4;
inline constexpr double kSigmaTolerance = 1e-6;
inline constexpr int kPixelTolerance = 1;

struct Backend {
  const char* name;
  std::unique_ptr<Ops> (*make)();
};

inline Payload PayloadOf(const Tensor& tensor) {
  return Payload::Copy({tensor.as<const char>(), tensor.bytes()});
}

class FluxPipelineGoldenTest
    : public ::testing::TestWithParam<std::tuple<const char*, const Backend*>> {
 protected:
  FluxPipelineGoldenTest()
      : fixture_(absl::StrCat("flux_", std::get<0>(GetParam()), "/goldens.json")),
        ops_(std::get<1>(GetParam())->make()) {}

  void RunCase(Pipeline& pipeline, const Json& entry);
  void ExpectSteps(Pipeline& pipeline, const std::string& name);
  void ExpectPixels(Pipeline& pipeline, const std::string& name);

  Fixture fixture_;
  std::unique_ptr<Ops> ops_;
};

inline void FluxPipelineGoldenTest::ExpectSteps(Pipeline& pipeline, const std::string& name) {
  const std::vector<float> expected = fixture_.Floats(name + ".latents_after");
  const std::vector<float> sigmas = fixture_.Floats(name + ".sigmas");
  const auto steps = static_cast<int>(fixture_.Get(name + ".latents_after").dim(0));
  ASSERT_EQ(sigmas.size(), static_cast<size_t>(steps) + 1);
  const int64_t count = static_cast<int64_t>(expected.size()) / steps;
  for (int step = 0; step < steps; ++step) {
    const JobOutcome outcome = testing::DenoiseJobs(pipeline, {{0, step}})[0];
    ASSERT_TRUE(outcome.status.ok()) << name << ": " << outcome.status;
    EXPECT_NEAR(outcome.sigma, sigmas[static_cast<size_t>(step)], kSigmaTolerance) << name;
    const std::string bytes = testing::LatentsOf(outcome);
    std::vector<float> latents(bytes.size() / sizeof(float));
    std::memcpy(latents.data(), bytes.data(), bytes.size());
    const auto begin = expected.begin() + count * step;
    EXPECT_LE(MaxDifference(latents, {begin, begin + count}), kLatentsTolerance)
        << name << " step " << step;
  }
}

inline void FluxPipelineGoldenTest::ExpectPixels(Pipeline& pipeline, const std::string& name) {
  const JobOutcome decoded = testing::DecodeSlot(pipeline, 0);
  ASSERT_TRUE(decoded.status.ok()) << decoded.status;
  const Tensor image = fixture_.Get(name + ".image");
  const std::string_view pixels = decoded.output.bytes();
  ASSERT_EQ(pixels.size(), image.bytes());
  int largest = 0;
  for (size_t i = 0; i < pixels.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<unsigned char>(pixels[i]) -
                                         image.as<const unsigned char>()[i]));
  }
  EXPECT_LE(largest, kPixelTolerance) << name;
}

inline void FluxPipelineGoldenTest::RunCase(Pipeline& pipeline, const Json& entry) {
  const std::string name = entry.at("name").get<std::string>();
  v1::OpenSlot open;
  open.set_prompt(entry.at("prompt").get<std::string>());
  open.set_negative_prompt(entry.value("negative_prompt", ""));
  open.set_width(entry.at("width").get<int>());
  open.set_height(entry.at("height").get<int>());
  open.set_guidance_scale(entry.at("guidance_scale").get<double>());
  open.set_true_cfg_scale(entry.value("true_cfg_scale", 1.0));
  open.set_max_sequence_length(entry.at("max_sequence_length").get<int>());
  open.set_seed(entry.at("seed").get<int64_t>());
  open.set_steps(entry.at("steps").get<int>());
  open.set_sampler("flow_match_euler");
  JobInputs inputs;
  if (entry.contains("strength")) {
    open.set_strength(entry.at("strength").get<double>());
    inputs.init_image = PayloadOf(fixture_.Get(name + ".init"));
    open.mutable_init_image()->set_dtype(v1::DTYPE_U8);
  }
  if (fixture_.Has(name + ".mask")) {
    inputs.mask = PayloadOf(fixture_.Get(name + ".mask"));
    open.mutable_mask()->set_dtype(v1::DTYPE_U8);
  }
  const absl::Status opened = pipeline.Open(open, {}, inputs);
  ASSERT_TRUE(opened.ok()) << name << ": " << opened;
  const absl::Status encoded = testing::EncodeSlot(pipeline, 0).status;
  ASSERT_TRUE(encoded.ok()) << name << ": " << encoded;
  if (entry.contains("strength")) {
    v1::BatchPlan plan;
    plan.add_jobs();
    std::vector<JobOutcome> outcomes(1);
    ASSERT_TRUE(pipeline.EncodeImage(plan, {0}, absl::MakeSpan(outcomes)).ok());
    ASSERT_TRUE(outcomes[0].status.ok()) << name << ": " << outcomes[0].status;
  }
  ExpectSteps(pipeline, name);
  if (!HasFatalFailure()) ExpectPixels(pipeline, name);
  pipeline.Close(0, true);
}

TEST_P(FluxPipelineGoldenTest, LatentsAtEveryStepAndPixels) {
  const auto pipeline =
      LoadPipeline(fixture_.folder() + "/" + fixture_.json().at("model").get<std::string>(),
                   LoadOptions{.name = "models/golden"}, *ops_);
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  for (const Json& entry : fixture_.json().at("cases")) {
    RunCase(**pipeline, entry);
    if (HasFatalFailure()) return;
  }
  // Once more, with every prompt's embeddings from the cache.
  RunCase(**pipeline, fixture_.json().at("cases").front());
}

inline std::string NameOf(const ::testing::TestParamInfo<FluxPipelineGoldenTest::ParamType>& info) {
  return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)->name);
}

}  // namespace darkroom::golden
