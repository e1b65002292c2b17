#include "model/denoisers/flux_denoiser.h"

#include "base/error.h"
#include "gtest/gtest.h"
#include "model/load_parts.h"
#include "model/noise.h"
#include "testing/fake_prompt_encoder.h"
#include "testing/reference_ops.h"

namespace darkroom {
namespace {

// Packing on the reference ops, where a wrong table is the only thing that can go wrong. Whole jobs
// on the CPU backend are run together in tests/integration/batching_test.cc.
class FluxDenoiserTest : public ::testing::Test {
 protected:
  struct Loaded {
    explicit Loaded(bool poison) : ops(poison), stream(ops.CreateStream()) {
      absl::StatusOr<ModelFolder> folder =
          ModelFolder::Open(DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_dev/model");
      EXPECT_TRUE(folder.ok()) << folder.status();
      const auto config = ReadConfig(*folder, "transformer/config.json", &ReadFluxConfig);
      EXPECT_TRUE(config.ok()) << config.status();
      weights = Weights::Open(*folder, "transformer");
      EXPECT_TRUE(weights.ok()) << weights.status();
      auto transformer = std::make_unique<FluxTransformer>(*config, *weights);
      EXPECT_TRUE(weights->Check().ok()) << weights->Check();
      auto prompts = std::make_unique<testing::FakePromptEncoder>(
          config->joint_attention_dim, config->pooled_projection_dim, kTokensMax);
      encoder = prompts.get();
      denoiser = std::make_unique<FluxDenoiser>(std::move(transformer), std::move(prompts), ops);
      EXPECT_TRUE(denoiser->Load(DType::kF32, *stream).ok());
    }
    testing::ReferenceOps ops;
    std::unique_ptr<Stream> stream;
    absl::StatusOr<Weights> weights;
    std::unique_ptr<FluxDenoiser> denoiser;
    testing::FakePromptEncoder* encoder = nullptr;
  };

  struct Shape {
    int height;
    int width;
    int text_tokens;
    bool guided;
  };

  // One job with its own memory.
  struct Job {
    Job(Loaded& loaded, uint64_t identity, const Shape& shape, float timestep) {
      FluxDenoiser& denoiser = *loaded.denoiser;
      latents.resize(static_cast<size_t>(denoiser.latent_channels() * shape.height * shape.width));
      FillNoise(identity, absl::MakeSpan(latents));
      start = latents;
      auto encoded = denoiser.Encode({.prompt = "prompt " + std::to_string(identity),
                                      .negative_prompt = "not " + std::to_string(identity),
                                      .guided = shape.guided,
                                      .sequence_length_max = shape.text_tokens,
                                      .latent_height = shape.height,
                                      .latent_width = shape.width},
                                     *loaded.stream);
      EXPECT_TRUE(encoded.ok()) << encoded.status();
      conditioning = *std::move(encoded);
      job.identity = identity;
      job.conditioning = conditioning.get();
      job.latents = {.data = latents.data(),
                     .channels = denoiser.latent_channels(),
                     .height = shape.height,
                     .width = shape.width,
                     .pad = 0};
      job.cfg_scale = shape.guided ? 3.5f : 1.0f;
      job.distilled_guidance = 2.0f + static_cast<float>(identity);
      job.evaluation.timestep = timestep;
      job.evaluation.sample = 0.9f;
      job.evaluation.model = -0.4f;
    }
    std::vector<float> latents, start;
    std::unique_ptr<Conditioning> conditioning;
    StepJob job;
  };

  static constexpr int kTokensMax = 24;
  static constexpr Shape kWide{.height = 4, .width = 10, .text_tokens = 24, .guided = true};
  static constexpr Shape kSmall{.height = 2, .width = 2, .text_tokens = 3, .guided = false};
  static constexpr Shape kTall{.height = 12, .width = 6, .text_tokens = 17, .guided = true};

  // Latents of every job after one step of these jobs together.
  static std::vector<std::vector<float>> RunTogether(Loaded& loaded,
                                                     const std::vector<Job*>& jobs) {
    std::vector<StepJob> step_jobs;
    for (Job* job : jobs) {
      job->latents = job->start;
      step_jobs.push_back(job->job);
    }
    EXPECT_TRUE(loaded.denoiser->Run(step_jobs, *loaded.stream).ok());
    std::vector<std::vector<float>> results;
    for (Job* job : jobs) results.push_back(job->latents);
    return results;
  }
};

TEST_F(FluxDenoiserTest, AnyCompanyAnyOrderSameBits) {
  Loaded loaded(/*poison=*/false);
  Job a(loaded, 1, kWide, 980);
  Job b(loaded, 2, kSmall, 20);
  Job c(loaded, 3, kTall, 500);
  const std::vector<std::pair<Job*, std::vector<float>>> alone = {
      {&a, RunTogether(loaded, {&a})[0]},
      {&b, RunTogether(loaded, {&b})[0]},
      {&c, RunTogether(loaded, {&c})[0]}};
  for (const auto& [job, latents] : alone) EXPECT_NE(latents, job->start);
  // The same batch twice, for what stays on the device; then others in between.
  const std::vector<std::vector<Job*>> batches = {{&a, &b},     {&a, &b}, {&b, &a}, {&a, &b, &c},
                                                  {&c, &a, &b}, {&a},     {&c, &b}, {&b, &c, &a}};
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto results = RunTogether(loaded, batches[i]);
    for (size_t j = 0; j < batches[i].size(); ++j) {
      const auto expected = std::find_if(
          alone.begin(), alone.end(), [&](const auto& one) { return one.first == batches[i][j]; });
      EXPECT_EQ(results[j], expected->second) << "batch " << i << " job " << j;
    }
  }
}

TEST_F(FluxDenoiserTest, ReadsNothingThatNobodyWrote) {
  Loaded zeros(/*poison=*/false);
  Loaded poisoned(/*poison=*/true);
  Job a(zeros, 1, kWide, 980);
  Job b(zeros, 2, kSmall, 20);
  Job poisoned_a(poisoned, 1, kWide, 980);
  Job poisoned_b(poisoned, 2, kSmall, 20);
  EXPECT_EQ(RunTogether(poisoned, {&poisoned_a, &poisoned_b}), RunTogether(zeros, {&a, &b}));
}

TEST_F(FluxDenoiserTest, EveryInputCounts) {
  Loaded loaded(/*poison=*/false);
  Job base(loaded, 1, kTall, 500);
  const auto expected = RunTogether(loaded, {&base})[0];
  const auto changed = [&](auto change) {
    Job job(loaded, 1, kTall, 500);
    change(job);
    return RunTogether(loaded, {&job})[0] != expected;
  };
  EXPECT_FALSE(changed([](Job&) {}));
  EXPECT_TRUE(changed([](Job& job) { job.job.evaluation.timestep = 501; }));
  EXPECT_TRUE(changed([](Job& job) { job.job.distilled_guidance = 9; }));
  EXPECT_TRUE(changed([](Job& job) { job.job.cfg_scale = 3; }));
  EXPECT_TRUE(changed([](Job& job) { job.job.cfg_scale = 1; }));
  EXPECT_TRUE(changed([](Job& job) { job.start.back() += 0.5f; }));
  // Another prompt, a longer one, another size.
  Job other(loaded, 2, kTall, 500);
  other.start = base.start;
  other.job.distilled_guidance = base.job.distilled_guidance;
  EXPECT_NE(RunTogether(loaded, {&other})[0], expected);
}

TEST_F(FluxDenoiserTest, AllocatesNothingAfterTheLargestBatch) {
  Loaded loaded(/*poison=*/false);
  Job a(loaded, 1, kWide, 980);
  Job b(loaded, 2, kSmall, 20);
  RunTogether(loaded, {&a, &b});
  const int allocations = loaded.ops.allocations();
  RunTogether(loaded, {&b});
  RunTogether(loaded, {&b, &a});
  RunTogether(loaded, {&a});
  EXPECT_EQ(loaded.ops.allocations(), allocations);
}

TEST_F(FluxDenoiserTest, GoesOnAfterMemoryRanOut) {
  Loaded loaded(/*poison=*/true);
  Job a(loaded, 1, kSmall, 980);
  Job b(loaded, 2, kTall, 20);
  const auto alone = RunTogether(loaded, {&a});
  loaded.ops.FailNextAllocation();
  EXPECT_EQ(loaded.denoiser->Run({a.job, b.job}, *loaded.stream).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RunTogether(loaded, {&a}), alone);
}

TEST_F(FluxDenoiserTest, PromptsAreEncodedAsOftenAsTheirBranchesNeed) {
  Loaded loaded(/*poison=*/false);
  const Job plain(loaded, 1, kSmall, 500);
  EXPECT_EQ(loaded.encoder->encoded(), 1);
  const Job guided(loaded, 2, kWide, 500);
  EXPECT_EQ(loaded.encoder->encoded(), 3);
  EXPECT_EQ(loaded.denoiser->RowsOf(plain.job), 3 + 1);
  EXPECT_EQ(loaded.denoiser->RowsOf(guided.job), 2 * (24 + 2 * 5));
  EXPECT_EQ(loaded.denoiser->text_tokens_max(), kTokensMax);
}

TEST_F(FluxDenoiserTest, AnEncodersRefusalIsTheJobs) {
  Loaded loaded(/*poison=*/false);
  const auto refused = loaded.denoiser->Encode(
      {.prompt = "too long", .latent_height = 4, .latent_width = 4}, *loaded.stream);
  EXPECT_EQ(ErrorReason(refused.status()), "PROMPT_TOO_LONG");
  EXPECT_EQ(refused.status().message(), "prompt is too long");
}

TEST_F(FluxDenoiserTest, ARefusalOfTheNegativePromptNamesIt) {
  Loaded loaded(/*poison=*/false);
  ConditioningRequest request = {
      .prompt = "fine", .negative_prompt = "too long", .latent_height = 4, .latent_width = 4};
  EXPECT_TRUE(loaded.denoiser->Encode(request, *loaded.stream).ok());
  request.guided = true;
  const absl::Status refused = loaded.denoiser->Encode(request, *loaded.stream).status();
  EXPECT_EQ(ErrorReason(refused), "PROMPT_TOO_LONG");
  EXPECT_EQ(refused.message(), "negative_prompt is too long");
  EXPECT_EQ(ToProto(refused).details_size(), 2);
}

TEST_F(FluxDenoiserTest, WipedPromptsAreGone) {
  Loaded loaded(/*poison=*/false);
  Job job(loaded, 1, kSmall, 500);
  const auto before = RunTogether(loaded, {&job});
  job.conditioning->Wipe(loaded.ops, *loaded.stream);
  // An unchanged batch need not be copied again, so this reads the wiped buffers themselves.
  EXPECT_NE(RunTogether(loaded, {&job}), before);
}

TEST_F(FluxDenoiserTest, LoadingAgainReplaces) {
  Loaded loaded(/*poison=*/false);
  Job job(loaded, 1, kSmall, 500);
  const auto before = RunTogether(loaded, {&job});
  ASSERT_TRUE(loaded.denoiser->Load(DType::kF32, *loaded.stream).ok());
  Job again(loaded, 1, kSmall, 500);
  EXPECT_EQ(RunTogether(loaded, {&again}), before);
}

TEST_F(FluxDenoiserTest, NothingIsAStep) {
  Loaded loaded(/*poison=*/false);
  EXPECT_TRUE(loaded.denoiser->Run({}, *loaded.stream).ok());
  EXPECT_GT(loaded.denoiser->WorkspaceBytes(1000, 2), loaded.denoiser->WorkspaceBytes(100, 2));
  EXPECT_GT(loaded.denoiser->WorkspaceBytes(100, 20), loaded.denoiser->WorkspaceBytes(100, 2));
}

}  // namespace
}  // namespace darkroom
