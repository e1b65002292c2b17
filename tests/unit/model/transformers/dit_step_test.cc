#include "model/transformers/dit_step.h"

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
// promise over whole jobs and on the CPU backend is tested in dit_pipeline_test.cc.
class DitStepTest : public ::testing::Test {
 protected:
  // A transformer on the given ops.
  struct Loaded {
    explicit Loaded(const testing::TempFolder& folder, bool poison)
        : ops(poison), stream(ops.CreateStream()) {
      absl::StatusOr<ModelFolder> opened = ModelFolder::Open(folder.path());
      const absl::StatusOr<Json> json = opened->ReadJson("transformer/config.json");
      ConfigReader reader(*json, "transformer/config.json");
      absl::StatusOr<Weights> weights = Weights::Open(*opened, "transformer");
      transformer = std::make_unique<DitTransformer>(*ReadDitConfig(reader), *weights);
      EXPECT_TRUE(weights->Check().ok()) << weights->Check();
      EXPECT_TRUE(transformer->Load(DType::kF32, ops, *stream).ok());
      step = std::make_unique<DitStep>(*transformer, ops);
    }
    testing::ReferenceOps ops;
    std::unique_ptr<Stream> stream;
    std::unique_ptr<DitTransformer> transformer;
    std::unique_ptr<DitStep> step;
  };

  // One job with its own memory.
  struct Job {
    Job(const DitTransformer& transformer, uint64_t identity, int size, int class_id, bool guided,
        float timestep)
        : size(size) {
      const DitConfig& config = transformer.config();
      latents.resize(static_cast<size_t>(config.in_channels * size * size));
      FillNoise(identity, absl::MakeSpan(latents));
      start = latents;
      positions = DitPositions(config, size / config.patch, size / config.patch);
      labels.resize(static_cast<size_t>(config.layers * config.dim()));
      null_labels.resize(labels.size());
      transformer.GatherLabel(class_id, absl::MakeSpan(labels));
      transformer.GatherLabel(config.null_class(), absl::MakeSpan(null_labels));
      job.identity = identity;
      job.latents = {.data = latents.data(),
                     .channels = config.in_channels,
                     .height = size,
                     .width = size,
                     .pad = 0};
      job.positions = positions.data();
      job.conditional = labels.data();
      job.unconditional = guided ? null_labels.data() : nullptr;
      job.timestep = timestep;
      job.guidance = guided ? 3.5f : 1.0f;
      job.step = {.sample = 0.9f, .model = -0.4f};
    }
    int size;
    std::vector<float> latents, start, positions, labels, null_labels;
    DitStepJob job;
  };

  DitStepTest() { testing::TinyDitModel().Build().Write(folder_); }

  // Latents of every job after one step of these jobs together.
  static std::vector<std::vector<float>> RunTogether(Loaded& loaded,
                                                     const std::vector<Job*>& jobs) {
    std::vector<DitStepJob> step_jobs;
    for (Job* job : jobs) {
      job->latents = job->start;
      step_jobs.push_back(job->job);
    }
    EXPECT_TRUE(loaded.step->Run(step_jobs, *loaded.stream).ok());
    std::vector<std::vector<float>> results;
    for (Job* job : jobs) results.push_back(job->latents);
    return results;
  }

  testing::TempFolder folder_;
};

TEST_F(DitStepTest, AnyCompanyAnyOrderSameBits) {
  Loaded loaded(folder_, /*poison=*/false);
  Job a(*loaded.transformer, 1, 8, 0, true, 980);
  Job b(*loaded.transformer, 2, 4, 3, false, 20);
  Job c(*loaded.transformer, 3, 12, 4, true, 500);
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

TEST_F(DitStepTest, ReadsNothingThatNobodyWrote) {
  Loaded zeros(folder_, /*poison=*/false);
  Loaded poisoned(folder_, /*poison=*/true);
  Job a(*zeros.transformer, 1, 8, 0, true, 980);
  Job b(*zeros.transformer, 2, 4, 3, false, 20);
  EXPECT_EQ(RunTogether(poisoned, {&a, &b}), RunTogether(zeros, {&a, &b}));
}

TEST_F(DitStepTest, GuidanceOneIsTheConditionalBranchAlone) {
  Loaded loaded(folder_, /*poison=*/false);
  Job guided(*loaded.transformer, 1, 8, 0, true, 400);
  Job plain(*loaded.transformer, 1, 8, 0, false, 400);
  guided.job.guidance = 1.0f;
  const auto with = RunTogether(loaded, {&guided})[0];
  const auto without = RunTogether(loaded, {&plain})[0];
  for (size_t i = 0; i < with.size(); ++i) EXPECT_NEAR(with[i], without[i], 1e-5f);
}

TEST_F(DitStepTest, AllocatesNothingAfterTheLargestBatch) {
  Loaded loaded(folder_, /*poison=*/false);
  Job a(*loaded.transformer, 1, 8, 0, true, 980);
  Job b(*loaded.transformer, 2, 4, 3, false, 20);
  RunTogether(loaded, {&a, &b});
  const int allocations = loaded.ops.allocations();
  RunTogether(loaded, {&b});
  RunTogether(loaded, {&b, &a});
  RunTogether(loaded, {&a});
  EXPECT_EQ(loaded.ops.allocations(), allocations);
}

TEST_F(DitStepTest, GuidanceMayComeAndGo) {
  Loaded loaded(folder_, /*poison=*/true);
  Loaded fresh(folder_, /*poison=*/true);
  Job job(*loaded.transformer, 1, 8, 0, true, 400);
  const float* unconditional = job.job.unconditional;
  const auto guided = RunTogether(fresh, {&job});
  job.job.unconditional = nullptr;
  const auto plain = RunTogether(loaded, {&job});
  job.job.unconditional = unconditional;
  EXPECT_EQ(RunTogether(loaded, {&job}), guided);
  job.job.unconditional = nullptr;
  EXPECT_EQ(RunTogether(loaded, {&job}), plain);
}

TEST_F(DitStepTest, GoesOnAfterMemoryRanOut) {
  Loaded loaded(folder_, /*poison=*/true);
  Job a(*loaded.transformer, 1, 8, 0, true, 980);
  Job b(*loaded.transformer, 2, 12, 3, true, 20);
  const auto alone = RunTogether(loaded, {&a});
  loaded.ops.FailNextAllocation();
  EXPECT_EQ(loaded.step->Run({a.job, b.job}, *loaded.stream).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RunTogether(loaded, {&a}), alone);
}

TEST_F(DitStepTest, NothingIsAStep) {
  Loaded loaded(folder_, /*poison=*/false);
  EXPECT_TRUE(loaded.step->Run({}, *loaded.stream).ok());
}

TEST_F(DitStepTest, WorkspaceGrowsWithRowsAndSequences) {
  Loaded loaded(folder_, /*poison=*/false);
  EXPECT_GT(loaded.step->WorkspaceBytes(1000, 2), loaded.step->WorkspaceBytes(100, 2));
  EXPECT_GT(loaded.step->WorkspaceBytes(100, 20), loaded.step->WorkspaceBytes(100, 2));
}

}  // namespace
}  // namespace darkroom
