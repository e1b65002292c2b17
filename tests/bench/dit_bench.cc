// Time of one packed denoising step by its number of jobs, and of decoding one picture, for a model
// of the size that ships: 64 x 64 pixels, 6 layers of width 128, random weights.
//
//   dit_bench [--benchmark_filter=...]
//
// DARKROOM_BENCH_MODEL takes a diffusers folder instead; DARKROOM_BENCH_PRECISION f32 (the default)
// or bf16; DARKROOM_BENCH_THREADS the threads (default: all); DNNL_MAX_CPU_ISA the instruction set.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "darkroom/pipeline.h"
#include "device/cpu/cpu_ops.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

constexpr int kSlots = 16;
constexpr int kSteps = 1000;

std::string_view Setting(const char* name, std::string_view fallback) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : fallback;
}

Ops& CpuOps() {
  static const std::unique_ptr<Ops> ops = [] {
    const int threads = std::atoi(std::string(Setting("DARKROOM_BENCH_THREADS", "0")).c_str());
    return CreateCpuOps(threads > 0 ? threads
                                    : static_cast<int>(std::thread::hardware_concurrency()));
  }();
  return *ops;
}

Pipeline& Model() {
  static const std::unique_ptr<Pipeline> pipeline = [] {
    const testing::TempFolder folder;
    std::string path(Setting("DARKROOM_BENCH_MODEL", ""));
    if (path.empty()) {
      testing::TinyDitModel model;
      model.heads = 4;
      model.head_dim = 32;
      model.layers = 6;
      model.sample_size = 16;
      model.classes = 1000;
      model.learned_sigma = false;
      model.vae_channels = {32, 64, 64};
      model.vae_groups = 16;
      model.Build().Write(folder);
      path = folder.path();
    }
    const bool bf16 = Setting("DARKROOM_BENCH_PRECISION", "f32") == "bf16";
    auto loaded = LoadPipeline(
        path, LoadOptions{.precision = bf16 ? DType::kBf16 : DType::kF32, .slots = kSlots},
        CpuOps());
    if (!loaded.ok()) {
      std::fprintf(stderr, "%s\n", loaded.status().ToString().c_str());
      std::exit(1);
    }
    std::printf("%s, %.1f million parameters\n", CpuOps().DeviceName().c_str(),
                static_cast<double>((*loaded)->model().parameters()) * 1e-6);
    return *std::move(loaded);
  }();
  return *pipeline;
}

// Opens `jobs` slots of the model's own size, with guidance.
v1::BatchPlan OpenJobs(int jobs, int steps) {
  const v1::Model& model = Model().model();
  v1::BatchPlan plan;
  for (int slot = 0; slot < jobs; ++slot) {
    v1::OpenSlot open;
    open.set_slot(static_cast<uint32_t>(slot));
    open.set_width(model.defaults().width());
    open.set_height(model.defaults().height());
    open.set_steps(steps);
    open.set_guidance_scale(model.defaults().guidance_scale());
    open.set_prompt(model.classes(slot % model.classes_size()));
    open.set_seed(slot);
    if (!Model().Open(open, {}, {}).ok()) std::abort();
    plan.add_jobs()->set_slot(open.slot());
  }
  return plan;
}

void RunStep(v1::BatchPlan& plan, int step) {
  std::vector<int> live;
  for (int i = 0; i < plan.jobs_size(); ++i) {
    plan.mutable_jobs(i)->set_step_index(step);
    live.push_back(i);
  }
  std::vector<JobOutcome> outcomes(live.size());
  if (!Model().Denoise(plan, live, absl::MakeSpan(outcomes)).ok() || !outcomes[0].status.ok()) {
    std::abort();
  }
}

void CloseJobs(int jobs) {
  for (int slot = 0; slot < jobs; ++slot) Model().Close(static_cast<uint32_t>(slot), true);
}

void BM_DenoiseStep(benchmark::State& state) {
  const int jobs = static_cast<int>(state.range(0));
  v1::BatchPlan plan = OpenJobs(jobs, kSteps);
  int step = 0;
  for (auto _ : state) {
    if (step == kSteps) {
      state.PauseTiming();
      CloseJobs(jobs);
      plan = OpenJobs(jobs, kSteps);
      step = 0;
      state.ResumeTiming();
    }
    RunStep(plan, step++);
  }
  CloseJobs(jobs);
  state.SetItemsProcessed(state.iterations() * jobs);
}

void BM_Decode(benchmark::State& state) {
  v1::BatchPlan plan = OpenJobs(1, 1);
  RunStep(plan, 0);
  for (auto _ : state) {
    std::vector<JobOutcome> outcomes(1);
    if (!Model().Decode(plan, {0}, absl::MakeSpan(outcomes)).ok()) std::abort();
    benchmark::DoNotOptimize(outcomes[0].output.bytes().data());
  }
  CloseJobs(1);
}

BENCHMARK(BM_DenoiseStep)
    ->RangeMultiplier(2)
    ->Range(1, kSlots)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Decode)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace darkroom

BENCHMARK_MAIN();
