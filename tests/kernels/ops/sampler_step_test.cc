#include "kernels/ops/sampler_step/sampler_step.h"

#include <cstddef>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include "darkroom/ops.h"
#include "gtest/gtest.h"
#include "kernels/ops/sampler_step/sampler_step_element.h"

namespace darkroom::kernels {
namespace {

// A table of the op contract is handed to the kernel as it is.
static_assert(sizeof(SamplerUpdate) == sizeof(darkroom::SamplerUpdate));
static_assert(sizeof(LatentView) == sizeof(darkroom::LatentView));
static_assert(offsetof(LatentView, width) == offsetof(darkroom::LatentView, width));
static_assert(offsetof(SamplerUpdate, history) == offsetof(darkroom::SamplerUpdate, history));
static_assert(offsetof(SamplerUpdate, conditional_row) ==
              offsetof(darkroom::SamplerUpdate, conditional_row));
static_assert(offsetof(SamplerUpdate, guidance) == offsetof(darkroom::SamplerUpdate, guidance));
static_assert(offsetof(SamplerUpdate, model) == offsetof(darkroom::SamplerUpdate, model));
static_assert(offsetof(SamplerUpdate, history_model) ==
              offsetof(darkroom::SamplerUpdate, history_model));
static_assert(offsetof(SamplerUpdate, mask) == offsetof(darkroom::SamplerUpdate, mask));
static_assert(offsetof(SamplerUpdate, denoised) == offsetof(darkroom::SamplerUpdate, denoised));
static_assert(offsetof(SamplerUpdate, denoised_model) ==
              offsetof(darkroom::SamplerUpdate, denoised_model));

struct Shape {
  int32_t channels, height, width;
  bool guided, history;
  bool painted = false;  // with a mask and a preview
};

// Jobs of different shapes whose branches lie in one packed model output, conditional ones first.
class Problem {
 public:
  Problem(const std::vector<Shape>& shapes, int32_t patch, bool channels_last,
          int32_t model_channels, DType dtype)
      : random_(20) {
    args_.patch = patch;
    args_.channels_last = channels_last;
    args_.model_channels = model_channels;
    args_.dtype = dtype;
    args_.jobs = static_cast<int32_t>(shapes.size());
    int32_t rows = 0;
    for (const Shape& shape : shapes) rows += AddJob(shape, rows);
    const auto output = Random(size_t{1} * rows * patch * patch * model_channels);
    DispatchDType(dtype, [&]<typename T>(T) {
      output_.resize(output.size() * sizeof(T));
      for (size_t i = 0; i < output.size(); ++i) {
        const T value(output[i]);
        std::memcpy(&output_[i * sizeof(T)], &value, sizeof(T));
      }
    });
  }

  struct Job {
    Shape shape;
    SamplerUpdate update;  // with null pointers
    std::vector<float> latents;
    std::vector<float> history;
    std::vector<float> mask, known, noise, denoised;  // of painted jobs
  };

  const SamplerStepArgs& args() const { return args_; }
  const std::vector<Job>& jobs() const { return jobs_; }
  const std::vector<std::byte>& output() const { return output_; }

  double Output(int64_t row, int64_t feature) const {
    const int64_t index = row * args_.patch * args_.patch * args_.model_channels + feature;
    return DispatchDType(args_.dtype, [&]<typename T>(T value) {
      std::memcpy(&value, &output_[index * sizeof(T)], sizeof(T));
      return static_cast<double>(ToFloat(value));
    });
  }

 private:
  std::vector<float> Random(size_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }

  // Returns how many rows the job takes.
  int32_t AddJob(const Shape& shape, int32_t row) {
    const int32_t tokens = shape.height / args_.patch * (shape.width / args_.patch);
    const size_t elements = size_t{1} * shape.channels * shape.height * shape.width;
    const auto factor = Random(6);
    Job job{.shape = shape,
            .update = {.latents = {nullptr, shape.channels, shape.height, shape.width, 0},
                       .history = nullptr,
                       .conditional_row = row,
                       .unconditional_row = shape.guided ? row + tokens : -1,
                       .guidance = 1 + factor[0],
                       .sample = factor[1],
                       .model = factor[2],
                       .history_in = factor[3],
                       .history_sample = factor[4],
                       .history_model = factor[5]},
            .latents = Random(elements),
            .history = Random(shape.history ? elements : 0)};
    if (shape.painted) {
      job.mask = Random(size_t{1} * shape.height * shape.width);
      job.known = Random(elements);
      job.noise = Random(elements);
      job.denoised.resize(elements);
      const auto weights = Random(4);
      job.update.known_weight = weights[0];
      job.update.noise_weight = weights[1];
      job.update.denoised_sample = weights[2];
      job.update.denoised_model = weights[3];
    }
    args_.elements_max = std::max(args_.elements_max, static_cast<int64_t>(elements));
    jobs_.push_back(std::move(job));
    return shape.guided ? 2 * tokens : tokens;
  }

  std::mt19937 random_;
  SamplerStepArgs args_;
  std::vector<Job> jobs_;
  std::vector<std::byte> output_;
};

// The op contract's words in float64, walking tokens and features where the kernel walks latents.
void ExpectReference(const Problem& problem, const std::vector<Problem::Job>& results) {
  const SamplerStepArgs& args = problem.args();
  for (size_t j = 0; j < results.size(); ++j) {
    const Problem::Job& before = problem.jobs()[j];
    const SamplerUpdate& update = before.update;
    const Shape& shape = before.shape;
    int64_t token = 0;
    for (int32_t top = 0; top < shape.height; top += args.patch) {
      for (int32_t left = 0; left < shape.width; left += args.patch, ++token) {
        for (int32_t c = 0; c < shape.channels; ++c) {
          for (int32_t p = 0; p < args.patch * args.patch; ++p) {
            const int64_t feature =
                args.channels_last ? p * args.model_channels + c : c * args.patch * args.patch + p;
            double m = problem.Output(update.conditional_row + token, feature);
            if (shape.guided) {
              const double u = problem.Output(update.unconditional_row + token, feature);
              m = u + update.guidance * (m - u);
            }
            const int64_t i = (int64_t{c} * shape.height + top + p / args.patch) * shape.width +
                              left + p % args.patch;
            const double x = before.latents[i];
            double expected = update.sample * x + update.model * m;
            if (shape.history) {
              expected += update.history_in * before.history[i];
              const double kept = update.history_sample * x + update.history_model * m;
              ASSERT_NEAR(results[j].history[i], kept, 4e-6 * (1 + std::abs(m))) << j << " " << i;
            }
            if (shape.painted) {
              const double mask = before.mask[i % (shape.height * shape.width)];
              expected = mask * expected + (1 - mask) * (update.known_weight * before.known[i] +
                                                         update.noise_weight * before.noise[i]);
              ASSERT_NEAR(results[j].denoised[i],
                          update.denoised_sample * x + update.denoised_model * m,
                          4e-6 * (1 + std::abs(m)));
            }
            ASSERT_NEAR(results[j].latents[i], expected, 2e-5 * (1 + std::abs(m))) << j << " " << i;
          }
        }
      }
    }
  }
}

// The kernel's own per-element function, run by the host.
std::vector<Problem::Job> RunOnHost(const Problem& problem) {
  std::vector<Problem::Job> jobs = problem.jobs();
  SamplerStepArgs args = problem.args();
  args.model_output = problem.output().data();
  for (Problem::Job& job : jobs) {
    SamplerUpdate update = job.update;
    update.latents.data = job.latents.data();
    update.history = job.shape.history ? job.history.data() : nullptr;
    if (job.shape.painted) {
      update.mask = job.mask.data();
      update.known = job.known.data();
      update.noise = job.noise.data();
      update.denoised = job.denoised.data();
    }
    DispatchDType(args.dtype, [&]<typename T>(T) {
      for (size_t i = 0; i < job.latents.size(); ++i) {
        SamplerStepElement<T>(args, update, static_cast<int64_t>(i));
      }
    });
  }
  return jobs;
}

struct DeviceFree {
  void operator()(void* pointer) const { cudaFree(pointer); }
};
using DeviceMemory = std::unique_ptr<void, DeviceFree>;

DeviceMemory ToDevice(const void* data, size_t bytes) {
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, bytes), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(pointer, data, bytes, cudaMemcpyHostToDevice), cudaSuccess);
  return DeviceMemory(pointer);
}

void FromDevice(std::vector<float>& values, const DeviceMemory& memory) {
  EXPECT_EQ(cudaMemcpy(values.data(), memory.get(), values.size() * sizeof(float),
                       cudaMemcpyDeviceToHost),
            cudaSuccess);
}

std::vector<Problem::Job> RunOnDevice(const Problem& problem) {
  std::vector<Problem::Job> jobs = problem.jobs();
  std::vector<DeviceMemory> latents, history, painting;
  std::vector<SamplerUpdate> updates;
  for (const Problem::Job& job : jobs) {
    latents.push_back(ToDevice(job.latents.data(), job.latents.size() * sizeof(float)));
    history.push_back(job.shape.history
                          ? ToDevice(job.history.data(), job.history.size() * sizeof(float))
                          : nullptr);
    updates.push_back(job.update);
    updates.back().latents.data = static_cast<float*>(latents.back().get());
    updates.back().history = static_cast<float*>(history.back().get());
    if (!job.shape.painted) continue;
    const auto upload = [&](const std::vector<float>& values) {
      painting.push_back(ToDevice(values.data(), values.size() * sizeof(float)));
      return static_cast<float*>(painting.back().get());
    };
    updates.back().mask = upload(job.mask);
    updates.back().known = upload(job.known);
    updates.back().noise = upload(job.noise);
    updates.back().denoised = upload(job.denoised);
  }
  const DeviceMemory table = ToDevice(updates.data(), updates.size() * sizeof(SamplerUpdate));
  const DeviceMemory output = ToDevice(problem.output().data(), problem.output().size());
  SamplerStepArgs args = problem.args();
  args.updates = static_cast<const SamplerUpdate*>(table.get());
  args.model_output = output.get();
  const Result result = SamplerStep(args, nullptr);
  EXPECT_TRUE(result.ok()) << result.message;
  size_t painted = 0;
  for (size_t j = 0; j < jobs.size(); ++j) {
    if (jobs[j].shape.painted) FromDevice(jobs[j].denoised, painting[4 * painted++ + 3]);
    FromDevice(jobs[j].latents, latents[j]);
    if (jobs[j].shape.history) FromDevice(jobs[j].history, history[j]);
  }
  return jobs;
}

std::vector<Problem> Problems() {
  const std::vector<Shape> mixed = {{4, 8, 8, true, true},
                                    {4, 4, 12, false, true},
                                    {4, 16, 8, true, false, true},
                                    {3, 8, 8, false, true, true},
                                    {3, 8, 4, false, false}};
  // More elements than one pass of the largest launch, so that blocks stride.
  const std::vector<Shape> large = {{4, 256, 300, true, true}};
  return {Problem(mixed, 2, true, 8, DType::kF32),  Problem(mixed, 2, false, 4, DType::kF32),
          Problem(mixed, 4, true, 4, DType::kBf16), Problem(mixed, 1, false, 5, DType::kF16),
          Problem(large, 2, true, 8, DType::kBf16), Problem(large, 2, false, 4, DType::kF32)};
}

TEST(SamplerStepTest, ElementMatchesTheFloat64Reference) {
  for (const Problem& problem : Problems()) ExpectReference(problem, RunOnHost(problem));
}

TEST(SamplerStepTest, RefusesWhatItCannotRun) {
  const float value = 0;
  const SamplerUpdate update{};
  SamplerStepArgs good;
  good.updates = &update;
  good.jobs = 1;
  good.elements_max = 64;
  good.model_channels = 4;
  good.model_output = &value;
  EXPECT_TRUE(ValidateSamplerStep(good).ok());

  const auto message = [&](auto change) {
    SamplerStepArgs bad = good;
    change(bad);
    const Result result = SamplerStep(bad, nullptr);
    EXPECT_EQ(result.code, cudaErrorInvalidValue);
    return result.message;
  };
  EXPECT_EQ(message([](auto& a) { a.jobs = -1; }), "jobs is -1; it must be 0 to 65535");
  EXPECT_EQ(message([](auto& a) { a.jobs = 65'536; }), "jobs is 65536; it must be 0 to 65535");
  EXPECT_EQ(message([](auto& a) { a.patch = 0; }), "patch is 0; it must be 1 to 64");
  EXPECT_EQ(message([](auto& a) { a.model_channels = 0; }),
            "model_channels is 0; it must be 1 to 536870911");
  EXPECT_EQ(message([](auto& a) { a.elements_max = 0; }),
            "elements_max is 0; it must be at least 1");
  EXPECT_EQ(message([](auto& a) { a.updates = nullptr; }), "updates is null");
  EXPECT_EQ(message([](auto& a) { a.model_output = nullptr; }), "model_output is null");

  good.jobs = 0;
  good.updates = nullptr;
  EXPECT_TRUE(SamplerStep(good, nullptr).ok()) << "an empty step launches nothing";
}

TEST(SamplerStepTest, ConfigCoversEveryElementUpToItsCap) {
  SamplerStepArgs args;
  args.jobs = 7;
  for (const int64_t elements : {1, 256, 257, 270'336, 270'337, 1 << 30}) {
    args.elements_max = elements;
    const SamplerStepConfig config = ChooseSamplerStepConfig(args);
    EXPECT_EQ(config.blocks_y, 7u);
    const int64_t covered = int64_t{config.threads} * config.blocks_x;
    EXPECT_GE(covered, std::min<int64_t>(elements, 270'336));
    EXPECT_LT(covered - config.threads, elements) << "no block is idle";
  }
}

TEST(SamplerStepTest, KernelGivesTheElementFunctionsBits) {
  for (const Problem& problem : Problems()) {
    const auto host = RunOnHost(problem);
    const auto device = RunOnDevice(problem);
    ExpectReference(problem, device);
    for (size_t j = 0; j < host.size(); ++j) {
      EXPECT_EQ(device[j].latents, host[j].latents);
      EXPECT_EQ(device[j].history, host[j].history);
      EXPECT_EQ(device[j].denoised, host[j].denoised);
    }
  }
}

}  // namespace
}  // namespace darkroom::kernels
