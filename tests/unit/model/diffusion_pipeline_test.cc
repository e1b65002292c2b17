#include "model/diffusion_pipeline.h"

#include <cstdlib>
#include <cstring>
#include <random>
#include <set>

#include "base/error.h"
#include "device/cpu/cpu_ops.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/pipeline_driver.h"
#include "testing/reference_ops.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

using testing::DecodeSlot;
using testing::DenoiseJobs;
using testing::EncodeSlot;
using testing::LatentsOf;
using testing::OpenRequest;
using testing::PipelineResult;
using testing::RunAlone;

class DiffusionPipelineTest : public ::testing::Test {
 protected:
  // Latents are 8, pictures 16 pixels wide; sizes are multiples of 4.
  DiffusionPipelineTest() { testing::TinyDitModel().Build().Write(folder_); }

  std::unique_ptr<Pipeline> Load(Ops& ops, int slots = 4, int64_t step_tokens_max = 0,
                                 DType precision = DType::kF32) {
    auto pipeline = LoadPipeline(folder_.path(),
                                 LoadOptions{.name = "models/tiny",
                                             .precision = precision,
                                             .slots = slots,
                                             .step_tokens_max = step_tokens_max},
                                 ops);
    EXPECT_TRUE(pipeline.ok()) << pipeline.status();
    return *std::move(pipeline);
  }

  testing::TempFolder folder_;
};

struct Job {
  v1::OpenSlot open;
  PipelineResult alone;
  PipelineResult together;
  int step = 0;
};

// Jobs of random sizes, steps, guidance and classes come, run in random company and order, in
// slots that others had before, and go.
void RunTogether(Pipeline& pipeline, std::vector<Job>& jobs, int slots, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Job*> waiting;
  for (Job& job : jobs) waiting.push_back(&job);
  std::vector<Job*> running(static_cast<size_t>(slots), nullptr);
  while (!waiting.empty() || std::any_of(running.begin(), running.end(),
                                         [](const Job* job) { return job != nullptr; })) {
    for (size_t slot = 0; slot < running.size() && !waiting.empty(); ++slot) {
      if (running[slot] != nullptr || random() % 3 == 0) continue;
      running[slot] = waiting.back();
      waiting.pop_back();
      running[slot]->open.set_slot(static_cast<uint32_t>(slot));
      ASSERT_TRUE(pipeline.Open(running[slot]->open, {}, {}).ok());
    }
    std::vector<Job*> batch;
    for (Job* job : running) {
      if (job != nullptr && random() % 4 != 0) batch.push_back(job);
    }
    std::shuffle(batch.begin(), batch.end(), random);
    std::vector<std::pair<uint32_t, int>> plan;
    for (Job* job : batch) plan.emplace_back(job->open.slot(), job->step);
    const std::vector<JobOutcome> outcomes = DenoiseJobs(pipeline, plan);
    for (size_t i = 0; i < batch.size(); ++i) {
      ASSERT_TRUE(outcomes[i].status.ok()) << outcomes[i].status;
      batch[i]->together.latents.emplace_back(outcomes[i].checkpoint_tensors.at(0).bytes());
      if (++batch[i]->step < batch[i]->open.steps()) continue;
      batch[i]->together.pixels = DecodeSlot(pipeline, batch[i]->open.slot()).output.bytes();
      pipeline.Close(batch[i]->open.slot(), random() % 2 == 0);
      running[batch[i]->open.slot()] = nullptr;
    }
  }
}

std::vector<Job> RandomJobs(int count, uint32_t seed) {
  const char* prompts[] = {"goldfish", "Tinca tinca", "hen", "great grey owl"};
  std::mt19937 random(seed);
  std::vector<Job> jobs(static_cast<size_t>(count));
  for (Job& job : jobs) {
    job.open = OpenRequest(0, 4 * (1 + static_cast<int>(random() % 8)),
                           1 + static_cast<int>(random() % 5), random() % 2 == 0 ? 1.0 : 4.5,
                           static_cast<int64_t>(random()), prompts[random() % 4]);
  }
  return jobs;
}

class SameBitsTest : public DiffusionPipelineTest {
 protected:
  void Check(Ops& alone_ops, Ops& together_ops, DType precision, int64_t step_tokens_max) {
    const auto alone = Load(alone_ops, 1, 0, precision);
    std::vector<Job> jobs = RandomJobs(12, 7);
    for (Job& job : jobs) job.alone = RunAlone(*alone, job.open);
    constexpr int kSlots = 5;
    const auto together = Load(together_ops, kSlots, step_tokens_max, precision);
    RunTogether(*together, jobs, kSlots, 11);
    for (size_t i = 0; i < jobs.size(); ++i) {
      EXPECT_TRUE(jobs[i].alone == jobs[i].together) << "job " << i;
      EXPECT_FALSE(jobs[i].alone.pixels.empty());
    }
  }
};

TEST_F(SameBitsTest, OnTheReference) {
  testing::ReferenceOps alone(/*poison=*/false);
  testing::ReferenceOps together(/*poison=*/true);
  Check(alone, together, DType::kF32, 0);
}

TEST_F(SameBitsTest, OnTheCpuWithAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3}) {
    const auto alone = CreateCpuOps(1);
    const auto together = CreateCpuOps(threads);
    Check(*alone, *together, DType::kF32, 0);
  }
}

TEST_F(SameBitsTest, WithPlansLargerThanAStep) {
  const auto alone = CreateCpuOps(1);
  const auto together = CreateCpuOps(2);
  // Two sequences of the largest size that the jobs have.
  Check(*alone, *together, DType::kF32, 128);
}

TEST_F(SameBitsTest, InBf16) {
  const auto alone = CreateCpuOps(1);
  const auto together = CreateCpuOps(2);
  Check(*alone, *together, DType::kBf16, 0);
}

TEST_F(DiffusionPipelineTest, Bf16IsCloseToF32) {
  const auto ops = CreateCpuOps(2);
  const auto f32 = Load(*ops, 1, 0, DType::kF32);
  const auto bf16 = Load(*ops, 1, 0, DType::kBf16);
  EXPECT_EQ(bf16->numerics().precision(), "bf16");
  EXPECT_NE(bf16->model().numerics_id(), f32->model().numerics_id());
  const PipelineResult a = RunAlone(*f32, OpenRequest(0, 16, 4, 4.0, 1));
  const PipelineResult b = RunAlone(*bf16, OpenRequest(0, 16, 4, 4.0, 1));
  EXPECT_NE(a.latents, b.latents);
  double difference = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    difference +=
        std::abs(static_cast<unsigned char>(a.pixels[i]) - static_cast<unsigned char>(b.pixels[i]));
  }
  EXPECT_LT(difference / static_cast<double>(a.pixels.size()), 4);
}

TEST_F(DiffusionPipelineTest, RequestsDecideThePicture) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  const PipelineResult base = RunAlone(*pipeline, OpenRequest(0, 16, 3, 4.0, 1));
  EXPECT_EQ(base.pixels.size(), 16u * 16 * 3);
  EXPECT_TRUE(RunAlone(*pipeline, OpenRequest(2, 16, 3, 4.0, 1)) == base);
  EXPECT_TRUE(RunAlone(*pipeline, OpenRequest(0, 16, 3, 4.0, 1, " GoldFish ")) == base);
  EXPECT_NE(RunAlone(*pipeline, OpenRequest(0, 16, 3, 4.0, 2)).pixels, base.pixels);
  EXPECT_NE(RunAlone(*pipeline, OpenRequest(0, 16, 2, 4.0, 1)).pixels, base.pixels);
  EXPECT_NE(RunAlone(*pipeline, OpenRequest(0, 16, 3, 1.0, 1)).pixels, base.pixels);
  EXPECT_NE(RunAlone(*pipeline, OpenRequest(0, 16, 3, 4.5, 1)).pixels, base.pixels);
  EXPECT_NE(RunAlone(*pipeline, OpenRequest(0, 16, 3, 4.0, 1, "hen")).pixels, base.pixels);
}

TEST_F(DiffusionPipelineTest, ResumesWithTheSameBitsFromEveryStep) {
  const auto ops = CreateCpuOps(2);
  const auto first = Load(*ops);
  const auto second = Load(*ops);
  v1::OpenSlot open = OpenRequest(0, 20, 5, 4.0, 3);
  const PipelineResult whole = RunAlone(*first, open);
  ASSERT_TRUE(first->Open(open, {}, {}).ok());
  for (int step = 0; step < 5; ++step) {
    const JobOutcome outcome = DenoiseJobs(*first, {{0, step}})[0];
    ASSERT_TRUE(outcome.checkpoint.has_value());
    EXPECT_EQ(outcome.checkpoint->step(), step + 1);
    EXPECT_EQ(outcome.checkpoint->numerics_id(), first->model().numerics_id());
    EXPECT_THAT(outcome.checkpoint->latents().shape(), ::testing::ElementsAre(4, 10, 10));
    EXPECT_EQ(outcome.checkpoint->latents().size_bytes(), 1600);

    // On another pipeline, in another slot, with company.
    v1::OpenSlot resumed = open;
    resumed.set_slot(3);
    *resumed.mutable_checkpoint() = *outcome.checkpoint;
    ASSERT_TRUE(second->Open(resumed, outcome.checkpoint_tensors, {}).ok());
    ASSERT_TRUE(second->Open(OpenRequest(1, 12, 5, 2.0, 9, "hen"), {}, {}).ok());
    std::string latents(outcome.checkpoint_tensors[0].bytes());
    for (int later = step + 1; later < 5; ++later) {
      latents = LatentsOf(DenoiseJobs(*second, {{1, later - step - 1}, {3, later}})[1]);
      EXPECT_EQ(latents, whole.latents[static_cast<size_t>(later)]);
    }
    EXPECT_EQ(DecodeSlot(*second, 3).output.bytes(), whole.pixels);
    second->Close(3, true);
    second->Close(1, true);
  }
}

TEST_F(DiffusionPipelineTest, ForeignCheckpointsAreRefused) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  ASSERT_TRUE(pipeline->Open(OpenRequest(0, 16, 4, 1.0, 3), {}, {}).ok());
  const JobOutcome outcome = DenoiseJobs(*pipeline, {{0, 0}})[0];
  const auto open = [&](const std::function<void(v1::OpenSlot&)>& change, bool tensors = true,
                        size_t bytes = 1024) {
    v1::OpenSlot request = OpenRequest(1, 16, 4, 1.0, 3);
    *request.mutable_checkpoint() = *outcome.checkpoint;
    change(request);
    const Payload payload = Payload::Copy(std::string(bytes, '\0'));
    const absl::Status status = pipeline->Open(
        request, tensors ? absl::MakeConstSpan(&payload, 1) : absl::Span<const Payload>(), {});
    pipeline->Close(1, true);
    return ErrorReason(status);
  };
  EXPECT_EQ(open([](v1::OpenSlot&) {}), "");
  EXPECT_EQ(open([](v1::OpenSlot&) {}, false), "CHECKPOINT_INVALID");
  EXPECT_EQ(open([](v1::OpenSlot&) {}, true, 1020), "CHECKPOINT_INVALID");
  EXPECT_EQ(open([](v1::OpenSlot& r) { r.mutable_checkpoint()->set_numerics_id("x"); }),
            "NUMERICS_MISMATCH");
  EXPECT_EQ(open([](v1::OpenSlot& r) { r.mutable_checkpoint()->set_step(5); }),
            "CHECKPOINT_INVALID");
  EXPECT_EQ(open([](v1::OpenSlot& r) { r.mutable_checkpoint()->set_step(-1); }),
            "CHECKPOINT_INVALID");
  EXPECT_EQ(open([](v1::OpenSlot& r) {
              r.mutable_checkpoint()->mutable_latents()->set_dtype(v1::DTYPE_BF16);
            }),
            "CHECKPOINT_INVALID");
  EXPECT_EQ(
      open([](v1::OpenSlot& r) { r.mutable_checkpoint()->mutable_latents()->set_shape(0, 8); }),
      "CHECKPOINT_INVALID");
  EXPECT_EQ(open([](v1::OpenSlot& r) { r.mutable_checkpoint()->add_sampler_state(); }),
            "CHECKPOINT_INVALID");
  EXPECT_EQ(open([](v1::OpenSlot& r) { r.mutable_checkpoint()->set_random_counter(1); }),
            "CHECKPOINT_INVALID");
}

TEST_F(DiffusionPipelineTest, OpenValidatesEverythingAgain) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  const auto reason = [&](const std::function<void(v1::OpenSlot&)>& change) {
    v1::OpenSlot request = OpenRequest(1, 16, 4, 2.0, 3);
    change(request);
    const absl::Status status = pipeline->Open(request, {}, {});
    if (status.ok()) pipeline->Close(request.slot(), true);
    return ErrorReason(status);
  };
  EXPECT_EQ(reason([](v1::OpenSlot&) {}), "");
  EXPECT_EQ(reason([](v1::OpenSlot& r) { r.set_slot(4); }), "SLOT_INVALID");
  EXPECT_EQ(reason([](v1::OpenSlot& r) { r.set_slot(UINT32_MAX); }), "SLOT_INVALID");
  for (const int size : {0, -4, 2, 17, 130, 132, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(reason([size](v1::OpenSlot& r) {
                r.set_width(size);
                r.set_height(size);
              }),
              "SIZE_UNSUPPORTED")
        << size;
  }
  EXPECT_EQ(reason([](v1::OpenSlot& r) { r.set_height(20); }), "SIZE_UNSUPPORTED");
  for (const int steps : {0, -1, 1001, INT32_MAX}) {
    EXPECT_EQ(reason([steps](v1::OpenSlot& r) { r.set_steps(steps); }), "STEPS_OUT_OF_RANGE");
  }
  for (const double guidance : std::vector<double>{0.0, 0.99, 30.1, -1.0, NAN, INFINITY}) {
    EXPECT_EQ(reason([guidance](v1::OpenSlot& r) { r.set_guidance_scale(guidance); }),
              "GUIDANCE_SCALE_OUT_OF_RANGE");
  }
  EXPECT_EQ(reason([](v1::OpenSlot& r) { r.set_seed(-1); }), "SEED_OUT_OF_RANGE");
  EXPECT_EQ(reason([](v1::OpenSlot& r) { r.set_sampler("euler"); }), "SAMPLER_UNSUPPORTED");
  EXPECT_EQ(reason([](v1::OpenSlot& r) { r.add_adapters(); }), "ADAPTERS_UNSUPPORTED");
  EXPECT_EQ(reason([](v1::OpenSlot& r) { r.set_prompt(std::string(10'241, 'x')); }),
            "PROMPT_TOO_LONG");
  ASSERT_TRUE(pipeline->Open(OpenRequest(1, 16, 4, 2.0, 3), {}, {}).ok());
  EXPECT_EQ(reason([](v1::OpenSlot&) {}), "SLOT_OPEN");
  // Nearest size in the message.
  EXPECT_THAT(std::string(pipeline->Open(OpenRequest(0, 18, 4, 2.0, 3), {}, {}).message()),
              HasSubstr("width is 18; it must be a multiple of 4 from 4 to 128; nearest: 20"));
}

TEST_F(DiffusionPipelineTest, OneJobsErrorLeavesTheOthersAlone) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  const PipelineResult alone = RunAlone(*pipeline, OpenRequest(0, 16, 2, 4.0, 1));
  ASSERT_TRUE(pipeline->Open(OpenRequest(0, 16, 2, 4.0, 1), {}, {}).ok());
  ASSERT_TRUE(pipeline->Open(OpenRequest(1, 16, 2, 4.0, 1, "no such class"), {}, {}).ok());
  ASSERT_TRUE(pipeline->Open(OpenRequest(2, 16, 2, 4.0, 1), {}, {}).ok());
  // An unknown class, a closed slot, a slot that is none, a wrong step, a slot twice.
  const auto outcomes = DenoiseJobs(*pipeline, {{1, 0}, {3, 0}, {99, 0}, {2, 1}, {0, 0}, {0, 0}});
  EXPECT_EQ(ErrorReason(outcomes[0].status), "CLASS_UNKNOWN");
  EXPECT_EQ(ErrorReason(outcomes[1].status), "SLOT_NOT_OPEN");
  EXPECT_EQ(ErrorReason(outcomes[2].status), "SLOT_NOT_OPEN");
  EXPECT_EQ(ErrorReason(outcomes[3].status), "STEP_INVALID");
  EXPECT_EQ(LatentsOf(outcomes[4]), alone.latents[0]);
  EXPECT_EQ(ErrorReason(outcomes[5].status), "SLOT_TWICE");
  EXPECT_EQ(ErrorReason(EncodeSlot(*pipeline, 1).status), "CLASS_UNKNOWN");
  EXPECT_EQ(ErrorReason(DecodeSlot(*pipeline, 0).status), "STEP_INVALID");
  EXPECT_EQ(ErrorReason(DecodeSlot(*pipeline, 3).status), "SLOT_NOT_OPEN");
  EXPECT_EQ(LatentsOf(DenoiseJobs(*pipeline, {{0, 1}})[0]), alone.latents[1]);
  EXPECT_EQ(ErrorReason(DenoiseJobs(*pipeline, {{0, 2}})[0].status), "STEP_INVALID");
  EXPECT_EQ(DecodeSlot(*pipeline, 0).output.bytes(), alone.pixels);
  pipeline->Close(99, true);
}

TEST_F(DiffusionPipelineTest, OnlyLiveJobsRun) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  for (uint32_t slot = 0; slot < 2; ++slot) {
    ASSERT_TRUE(pipeline->Open(OpenRequest(slot, 16, 2, 4.0, 1), {}, {}).ok());
  }
  v1::BatchPlan plan;
  for (uint32_t slot = 0; slot < 2; ++slot) plan.add_jobs()->set_slot(slot);
  std::vector<JobOutcome> outcomes(2);
  ASSERT_TRUE(pipeline->Denoise(plan, {1}, absl::MakeSpan(outcomes)).ok());
  EXPECT_TRUE(DenoiseJobs(*pipeline, {{0, 0}, {1, 1}})[0].status.ok());
  ASSERT_TRUE(pipeline->Denoise(plan, {}, absl::MakeSpan(outcomes)).ok());
}

TEST_F(DiffusionPipelineTest, PlansOverrideGuidanceAndSigmas) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  const PipelineResult strong = RunAlone(*pipeline, OpenRequest(0, 16, 2, 6.0, 1));
  ASSERT_TRUE(pipeline->Open(OpenRequest(0, 16, 2, 2.0, 1), {}, {}).ok());
  const auto run = [&](const std::function<void(v1::BatchPlan&)>& change) {
    v1::BatchPlan plan;
    plan.add_jobs()->mutable_returns()->set_checkpoint(true);
    change(plan);
    std::vector<JobOutcome> outcomes(1);
    EXPECT_TRUE(pipeline->Denoise(plan, {0}, absl::MakeSpan(outcomes)).ok());
    return outcomes[0];
  };
  using Plan = v1::BatchPlan;
  const auto sigmas = [](std::vector<double> values) {
    return [values](Plan& plan) {
      for (const double value : values) plan.mutable_jobs(0)->add_sigmas(value);
    };
  };
  const std::vector<std::vector<double>> bad = {{500},    {500, 500}, {500, 600}, {1000, 500},
                                                {-1, -1}, {500.5, 1}, {NAN, 1},   {500, -2}};
  for (const auto& values : bad) {
    EXPECT_EQ(ErrorReason(run(sigmas(values)).status), "SIGMAS_INVALID");
  }
  EXPECT_EQ(ErrorReason(run([](Plan& p) { p.mutable_jobs(0)->set_guidance_scale(31); }).status),
            "GUIDANCE_SCALE_OUT_OF_RANGE");
  EXPECT_EQ(ErrorReason(run([](Plan& p) {
                          p.mutable_jobs(0)->set_cfg_branch(v1::CFG_BRANCH_CONDITIONAL);
                        }).status),
            "CFG_BRANCH_UNSUPPORTED");
  const auto segments = [](int first, int last) {
    return [first, last](Plan& plan) {
      plan.mutable_segments()->set_first(first);
      plan.mutable_segments()->set_last(last);
    };
  };
  for (const auto& [first, last] : {std::pair(-1, 1), {1, 1}, {1, 0}, {0, 3}, {0, INT_MAX}}) {
    EXPECT_EQ(ErrorReason(run(segments(first, last)).status), "SEGMENTS_INVALID");
  }
  EXPECT_EQ(ErrorReason(run(segments(1, 2)).status), "SEGMENTS_OUT_OF_ORDER");
  EXPECT_EQ(ErrorReason(run(segments(0, 1)).status), "RETURNS_INSIDE_STEP");
  EXPECT_EQ(ErrorReason(run([](Plan& p) { p.mutable_jobs(0)->add_adapters(); }).status),
            "ADAPTERS_UNSUPPORTED");
  // The slot's own schedule is (500, 0) and clean; saying so changes nothing.
  const JobOutcome outcome = run([&](Plan& plan) {
    sigmas({500, 0})(plan);
    plan.mutable_jobs(0)->set_guidance_scale(6.0);
    plan.mutable_segments()->set_last(2);
  });
  EXPECT_EQ(outcome.sigma, 500);
  EXPECT_EQ(LatentsOf(outcome), strong.latents[0]);
}

TEST_F(DiffusionPipelineTest, LargePicturesLeaveInAMemfd) {
  const auto ops = CreateCpuOps(2);
  const auto pipeline = Load(*ops);
  for (const auto& [size, memfd] : {std::pair(128, false), std::pair(152, true)}) {
    testing::TinyDitModel model;
    if (size > 128) {
      model.sample_size = 16;
      model.Build().Write(folder_);
    }
    const auto fresh = Load(*ops);
    ASSERT_TRUE(fresh->Open(OpenRequest(0, size, 1, 1.0, 1), {}, {}).ok());
    ASSERT_TRUE(DenoiseJobs(*fresh, {{0, 0}})[0].status.ok());
    const JobOutcome outcome = DecodeSlot(*fresh, 0);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.output.size(), static_cast<size_t>(size * size * 3));
    EXPECT_EQ(outcome.output.fd() >= 0, memfd) << size;
  }
}

TEST_F(DiffusionPipelineTest, LatentsThatAreNoNumbersFailTheJob) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  ASSERT_TRUE(pipeline->Open(OpenRequest(0, 16, 1, 1.0, 1), {}, {}).ok());
  const JobOutcome good = DenoiseJobs(*pipeline, {{0, 0}})[0];
  v1::OpenSlot resumed = OpenRequest(1, 16, 1, 1.0, 1);
  *resumed.mutable_checkpoint() = *good.checkpoint;
  std::string latents(good.checkpoint_tensors[0].bytes());
  const float nan = NAN;
  std::memcpy(latents.data() + 64, &nan, sizeof(nan));
  ASSERT_TRUE(pipeline->Open(resumed, {Payload::Copy(latents)}, {}).ok());
  EXPECT_EQ(ErrorReason(DecodeSlot(*pipeline, 1).status), "LATENTS_NOT_FINITE");
  EXPECT_TRUE(DecodeSlot(*pipeline, 0).status.ok());
}

TEST_F(DiffusionPipelineTest, HashesLatentsWhenAsked) {
  testing::ReferenceOps ops;
  const auto plain = Load(ops);
  ASSERT_EQ(setenv("DARKROOM_HASH_LATENTS", "1", 1), 0);
  const auto hashing = Load(ops);
  ASSERT_EQ(unsetenv("DARKROOM_HASH_LATENTS"), 0);
  std::set<uint64_t> hashes;
  for (Pipeline* pipeline : {plain.get(), hashing.get()}) {
    ASSERT_TRUE(pipeline->Open(OpenRequest(0, 16, 2, 1.0, 1), {}, {}).ok());
    for (int step = 0; step < 2; ++step) {
      const JobOutcome outcome = DenoiseJobs(*pipeline, {{0, step}})[0];
      EXPECT_EQ(outcome.latents_hash.has_value(), pipeline == hashing.get());
      if (!outcome.latents_hash) continue;
      uint64_t fnv = 0xcbf29ce484222325u;
      for (const char c : LatentsOf(outcome)) {
        fnv = (fnv ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
      }
      EXPECT_EQ(*outcome.latents_hash, fnv);
      hashes.insert(fnv);
    }
  }
  EXPECT_EQ(hashes.size(), 2u);
}

TEST_F(DiffusionPipelineTest, PlansLargerThanAStepTakeNoMoreMemory) {
  testing::ReferenceOps small_ops;
  testing::ReferenceOps large_ops;
  const auto small = Load(small_ops, 16, /*step_tokens_max=*/64);
  const auto large = Load(large_ops, 16);
  std::vector<std::pair<uint32_t, int>> jobs;
  for (uint32_t slot = 0; slot < 16; ++slot) {
    ASSERT_TRUE(small->Open(OpenRequest(slot, 16, 1, 4.0, slot), {}, {}).ok());
    ASSERT_TRUE(large->Open(OpenRequest(slot, 16, 1, 4.0, slot), {}, {}).ok());
    jobs.emplace_back(slot, 0);
  }
  // Two jobs at a time; 16 at a time.
  const std::vector<JobOutcome> a = DenoiseJobs(*small, jobs);
  const std::vector<JobOutcome> b = DenoiseJobs(*large, jobs);
  for (size_t i = 0; i < jobs.size(); ++i) EXPECT_EQ(LatentsOf(a[i]), LatentsOf(b[i]));
  EXPECT_LT(4 * small_ops.largest_allocation_bytes(), large_ops.largest_allocation_bytes());
}

TEST_F(DiffusionPipelineTest, NoMemoryForLatentsIsTheJobsError) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  ops.FailNextAllocation();
  EXPECT_EQ(ErrorReason(pipeline->Open(OpenRequest(0, 16, 1, 4.0, 1), {}, {})), "OUT_OF_MEMORY");
  EXPECT_TRUE(pipeline->Open(OpenRequest(0, 16, 1, 4.0, 1), {}, {}).ok());
}

TEST_F(DiffusionPipelineTest, StepsAllocateNothingOnceWarm) {
  testing::ReferenceOps ops;
  const auto pipeline = Load(ops);
  for (uint32_t slot = 0; slot < 3; ++slot) {
    ASSERT_TRUE(pipeline->Open(OpenRequest(slot, 16, 3, 4.0, slot), {}, {}).ok());
  }
  DenoiseJobs(*pipeline, {{0, 0}, {1, 0}, {2, 0}});
  const int allocations = ops.allocations();
  DenoiseJobs(*pipeline, {{2, 1}, {0, 1}});
  DenoiseJobs(*pipeline, {{1, 1}, {0, 2}, {2, 2}});
  EXPECT_EQ(ops.allocations(), allocations);
}

}  // namespace
}  // namespace darkroom
