#include "model/denoisers/dit_denoiser.h"

#include <cstring>

#include "gtest/gtest.h"
#include "model/model_folder.h"
#include "model/noise.h"
#include "nlohmann/json.hpp"
#include "testing/reference_ops.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

// Packing on the reference ops, where a wrong table is the only thing that can go wrong. The same
// promise over whole jobs and on the CPU backend is tested in diffusion_pipeline_test.cc.
class DitDenoiserTest : public ::testing::Test {
 protected:
  // A transformer on the given ops.
  struct Loaded {
    explicit Loaded(const testing::TempFolder& folder, bool poison)
        : ops(poison), stream(ops.CreateStream()) {
      absl::StatusOr<ModelFolder> opened = ModelFolder::Open(folder.path());
      const absl::StatusOr<Json> json = opened->ReadJson("transformer/config.json");
      ConfigReader reader(*json, "transformer/config.json");
      absl::StatusOr<Weights> weights = Weights::Open(*opened, "transformer");
      auto transformer = std::make_unique<DitTransformer>(*ReadDitConfig(reader), *weights);
      EXPECT_TRUE(weights->Check().ok()) << weights->Check();
      const int count = transformer->config().classes;
      denoiser = std::make_unique<DitDenoiser>(std::move(transformer),
                                               *ClassNames::Parse(opened->index(), count), ops);
      EXPECT_TRUE(denoiser->Load(DType::kF32, *stream).ok());
    }
    testing::ReferenceOps ops;
    std::unique_ptr<Stream> stream;
    std::unique_ptr<DitDenoiser> denoiser;
  };

  // One job with its own memory.
  struct Job {
    Job(Loaded& loaded, uint64_t identity, int size, size_t class_index, bool guided,
        float timestep) {
      DitDenoiser& denoiser = *loaded.denoiser;
      latents.resize(static_cast<size_t>(denoiser.latent_channels() * size * size));
      FillNoise(identity, absl::MakeSpan(latents));
      start = latents;
      auto encoded = denoiser.Encode({.prompt = denoiser.classes().names().at(class_index),
                                      .guided = guided,
                                      .latent_height = size,
                                      .latent_width = size},
                                     *loaded.stream);
      EXPECT_TRUE(encoded.ok()) << encoded.status();
      conditioning = *std::move(encoded);
      job.identity = identity;
      job.conditioning = conditioning.get();
      job.latents = {.data = latents.data(),
                     .channels = denoiser.latent_channels(),
                     .height = size,
                     .width = size,
                     .pad = 0};
      job.cfg_scale = guided ? 3.5f : 1.0f;
      job.evaluation.timestep = timestep;
      job.evaluation.sample = 0.9f;
      job.evaluation.model = -0.4f;
    }
    std::vector<float> latents, start;
    std::unique_ptr<Conditioning> conditioning;
    StepJob job;
  };

  DitDenoiserTest() { testing::TinyDitModel().Build().Write(folder_); }

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

  testing::TempFolder folder_;
};

TEST_F(DitDenoiserTest, AnyCompanyAnyOrderSameBits) {
  Loaded loaded(folder_, /*poison=*/false);
  Job a(loaded, 1, 8, 0, true, 980);
  Job b(loaded, 2, 4, 3, false, 20);
  Job c(loaded, 3, 12, 4, true, 500);
  const auto alone_a = RunTogether(loaded, {&a})[0];
  const auto alone_b = RunTogether(loaded, {&b})[0];
  const auto alone_c = RunTogether(loaded, {&c})[0];
  EXPECT_NE(alone_a, a.start);
  // The same batch twice, for what stays on the device; then others in between.
  const std::vector<std::vector<Job*>> batches = {{&a, &b},     {&a, &b}, {&b, &a}, {&a, &b, &c},
                                                  {&c, &a, &b}, {&a},     {&c, &b}, {&b, &c, &a}};
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto results = RunTogether(loaded, batches[i]);
    for (size_t j = 0; j < batches[i].size(); ++j) {
      const Job* job = batches[i][j];
      EXPECT_EQ(results[j], job == &a   ? alone_a
                            : job == &b ? alone_b
                                        : alone_c)
          << "batch " << i << " job " << j;
    }
  }
}

TEST_F(DitDenoiserTest, ReadsNothingThatNobodyWrote) {
  Loaded zeros(folder_, /*poison=*/false);
  Loaded poisoned(folder_, /*poison=*/true);
  Job a(zeros, 1, 8, 0, true, 980);
  Job b(zeros, 2, 4, 3, false, 20);
  EXPECT_EQ(RunTogether(poisoned, {&a, &b}), RunTogether(zeros, {&a, &b}));
}

TEST_F(DitDenoiserTest, AllocatesNothingAfterTheLargestBatch) {
  Loaded loaded(folder_, /*poison=*/false);
  Job a(loaded, 1, 8, 0, true, 980);
  Job b(loaded, 2, 4, 3, false, 20);
  RunTogether(loaded, {&a, &b});
  const int allocations = loaded.ops.allocations();
  RunTogether(loaded, {&b});
  RunTogether(loaded, {&b, &a});
  RunTogether(loaded, {&a});
  EXPECT_EQ(loaded.ops.allocations(), allocations);
}

TEST_F(DitDenoiserTest, GuidanceMayComeAndGo) {
  Loaded loaded(folder_, /*poison=*/true);
  Loaded fresh(folder_, /*poison=*/true);
  Job job(loaded, 1, 8, 0, true, 400);
  const auto guided = RunTogether(fresh, {&job});
  job.job.cfg_scale = 1;
  const auto plain = RunTogether(loaded, {&job});
  EXPECT_NE(plain, guided);
  job.job.cfg_scale = 3.5f;
  EXPECT_EQ(RunTogether(loaded, {&job}), guided);
  job.job.cfg_scale = 1;
  EXPECT_EQ(RunTogether(loaded, {&job}), plain);
}

TEST_F(DitDenoiserTest, GoesOnAfterMemoryRanOut) {
  Loaded loaded(folder_, /*poison=*/true);
  Job a(loaded, 1, 8, 0, true, 980);
  Job b(loaded, 2, 12, 3, true, 20);
  const auto alone = RunTogether(loaded, {&a});
  loaded.ops.FailNextAllocation();
  EXPECT_EQ(loaded.denoiser->Run({a.job, b.job}, *loaded.stream).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RunTogether(loaded, {&a}), alone);
}

TEST_F(DitDenoiserTest, NothingIsAStep) {
  Loaded loaded(folder_, /*poison=*/false);
  EXPECT_TRUE(loaded.denoiser->Run({}, *loaded.stream).ok());
}

TEST_F(DitDenoiserTest, WorkspaceGrowsWithRowsAndSequences) {
  Loaded loaded(folder_, /*poison=*/false);
  EXPECT_GT(loaded.denoiser->WorkspaceBytes(1000, 2), loaded.denoiser->WorkspaceBytes(100, 2));
  EXPECT_GT(loaded.denoiser->WorkspaceBytes(100, 20), loaded.denoiser->WorkspaceBytes(100, 2));
}

TEST_F(DitDenoiserTest, TakesClassNamesOnly) {
  Loaded loaded(folder_, /*poison=*/false);
  ConditioningRequest request{.prompt = "no such class", .latent_height = 8, .latent_width = 8};
  EXPECT_EQ(loaded.denoiser->Encode(request, *loaded.stream).status().code(),
            absl::StatusCode::kInvalidArgument);
  request.prompt = loaded.denoiser->classes().names().front();
  EXPECT_TRUE(loaded.denoiser->Encode(request, *loaded.stream).ok());
  request.negative_prompt = "blurry";
  EXPECT_EQ(loaded.denoiser->Encode(request, *loaded.stream).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace darkroom
