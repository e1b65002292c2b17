// Rates of the CPU backend's heavy ops beside the machine's own ceiling, which is measured in the
// same run: a large plain oneDNN matrix product on as many threads. `share` is the ratio to it.
//
//   ops_bench [--benchmark_filter=...]
//
// DARKROOM_BENCH_THREADS sets the threads (default: all); DNNL_MAX_CPU_ISA the instruction set.
// Rates are of the best iteration. On a machine that others use too, ask for 1 thread: then the
// clock is the thread's own processor time.

#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "benchmark/benchmark.h"
#include "darkroom/ops.h"
#include "device/cpu/cpu_ops.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace darkroom {
namespace {

int Threads() {
  static const int threads = [] {
    const char* text = std::getenv("DARKROOM_BENCH_THREADS");
    return text != nullptr ? std::max(1, std::atoi(text))
                           : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }();
  return threads;
}

double Seconds() {
  timespec now;
  clock_gettime(Threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

Ops& CpuOps() {
  static const std::unique_ptr<Ops> ops = CreateCpuOps(Threads());
  return *ops;
}

// Best of several runs, GFLOP/s; 0 where the machine cannot.
double MeasureCeiling(dnnl::memory::data_type dtype) {
  using dnnl::memory;
  constexpr int64_t kSize = 1024;
  try {
    omp_set_num_threads(Threads());
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    const memory::desc plain({kSize, kSize}, dtype, memory::format_tag::ab);
    const memory::desc packed({kSize, kSize}, dtype, memory::format_tag::any);
    const dnnl::matmul::primitive_desc description(
        dnnl::matmul::desc(
            plain, packed,
            memory::desc({kSize, kSize}, memory::data_type::f32, memory::format_tag::ab)),
        engine);
    const dnnl::matmul product(description);
    memory a(description.src_desc(), engine);
    memory b(description.weights_desc(), engine);
    memory c(description.dst_desc(), engine);
    std::fill_n(static_cast<char*>(a.get_data_handle()), description.src_desc().get_size(), 0);
    std::fill_n(static_cast<char*>(b.get_data_handle()), description.weights_desc().get_size(), 0);
    double best_s = 1e9;
    for (int i = 0; i < 40; ++i) {
      const double begin_s = Seconds();
      product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
      stream.wait();
      best_s = std::min(best_s, Seconds() - begin_s);
    }
    return 2.0 * kSize * kSize * kSize / best_s * 1e-9;
  } catch (const dnnl::error&) {
    return 0.0;
  }
}

double Ceiling(DType dtype) {
  static const double f32 = MeasureCeiling(dnnl::memory::data_type::f32);
  static const double bf16 = MeasureCeiling(dnnl::memory::data_type::bf16);
  return dtype == DType::kBf16 ? bf16 : f32;
}

// Runs `op` until the benchmark has enough, and reports the rate of the best iteration: on a
// machine that others use too, the mean says more about them.
template <typename Op>
void Run(benchmark::State& state, DType dtype, double flops, Op op) {
  double best_s = 1e9;
  for (auto _ : state) {
    const double begin_s = Seconds();
    const absl::Status status = op();
    const double took_s = Seconds() - begin_s;
    if (!status.ok()) return state.SkipWithError(std::string(status.message()).c_str());
    best_s = std::min(best_s, took_s);
  }
  state.counters["best_us"] = best_s * 1e6;
  if (flops == 0.0) return;
  state.counters["GFLOP/s"] = flops / best_s * 1e-9;
  if (Ceiling(dtype) > 0.0) state.counters["share"] = flops / best_s * 1e-9 / Ceiling(dtype);
}

// A batch of equal sequences.
struct Batch {
  Batch(int sequences, int length) {
    for (int s = 0; s <= sequences; ++s) boundaries.push_back(s * length);
    for (int r = 0; r < sequences * length; ++r) row_to_sequence.push_back(r / length);
    live_rows = sequences * length;
    live_sequences = sequences;
    packed.capacity = live_rows;
    packed.sequences_max = sequences;
    packed.live_rows = &live_rows;
    packed.live_sequences = &live_sequences;
    packed.boundaries = boundaries.data();
    packed.row_to_sequence = row_to_sequence.data();
  }
  std::vector<int32_t> boundaries, row_to_sequence;
  int32_t live_rows = 0;
  int32_t live_sequences = 0;
  PackedBatch packed;
};

std::vector<float> Values(int64_t count) {
  std::vector<float> values(count);
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / (1 << 24) - 0.5f;
  }
  return values;
}

// Turns f32 into bf16, in the first half of the memory.
void KeepHighHalves(std::vector<float>& values) {
  uint16_t* halves = reinterpret_cast<uint16_t*>(values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], sizeof(bits));
    halves[i] = static_cast<uint16_t>(bits >> 16);
  }
}

bool Good(benchmark::State& state, const absl::Status& status) {
  if (!status.ok()) state.SkipWithError(std::string(status.message()).c_str());
  return status.ok();
}

void BenchLinear(benchmark::State& state, DType source, DType compute, Activation activation) {
  const int rows = static_cast<int>(state.range(0));
  const int64_t in = state.range(1);
  const int64_t out = state.range(2);
  if (!CpuOps().Supports(compute)) return state.SkipWithError("not on this instruction set");
  std::vector<float> weight = Values(in * out);
  std::vector<float> x = Values(rows * in);
  std::vector<float> y(rows * out);
  if (source == DType::kBf16) KeepHighHalves(weight);
  auto packed = CpuOps().PackLinear(Tensor(weight.data(), source, {out, in}), Tensor(), compute);
  if (!Good(state, packed.status())) return;
  const Batch batch(1, rows);
  const auto stream = CpuOps().CreateStream();
  const LinearArgs args{.x = Tensor(x.data(), DType::kF32, {rows, in}),
                        .weight = packed->get(),
                        .activation = activation,
                        .out = Tensor(y.data(), DType::kF32, {rows, out})};
  Run(state, compute, 2.0 * rows * static_cast<double>(in * out),
      [&] { return CpuOps().Linear(args, batch.packed, *stream); });
}

void LinearShapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "in", "out"});
  for (const int64_t rows : {1, 4, 16, 32, 64, 256, 1024}) bench->Args({rows, 1152, 4608});
  bench->Args({768, 3072, 3072})->Args({768, 1024, 4096})->Args({768, 5120, 1024});
  bench->Args({256, 4608, 1152})->Args({256, 384, 1152})->Args({4, 1152, 6912});
  bench->MinTime(0.1)->UseRealTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(BenchLinear, f32, DType::kF32, DType::kF32, Activation::kNone)
    ->Apply(LinearShapes);
BENCHMARK_CAPTURE(BenchLinear, f32_of_bf16, DType::kBf16, DType::kF32, Activation::kNone)
    ->Apply(LinearShapes);
BENCHMARK_CAPTURE(BenchLinear, bf16, DType::kF32, DType::kBf16, Activation::kNone)
    ->Apply(LinearShapes);
BENCHMARK_CAPTURE(BenchLinear, f32_gelu, DType::kF32, DType::kF32, Activation::kGeluTanh)
    ->ArgNames({"rows", "in", "out"})
    ->Args({256, 1152, 4608})
    ->MinTime(0.1)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void BenchAttention(benchmark::State& state, DType dtype) {
  const int length = static_cast<int>(state.range(0));
  const int64_t heads = state.range(1);
  const int64_t head_dim = state.range(2);
  const Batch batch(std::max(1, 256 / length), length);
  const int64_t rows = batch.live_rows;
  std::vector<float> qkv = Values(rows * 3 * heads * head_dim);
  if (dtype == DType::kBf16) KeepHighHalves(qkv);
  std::vector<float> out(rows * heads * head_dim);
  AttentionArgs args;
  const auto slice = [&](int64_t which) {
    return Tensor(reinterpret_cast<char*>(qkv.data()) +
                      which * heads * head_dim * static_cast<int64_t>(ByteSize(dtype)),
                  dtype, {rows, heads, head_dim});
  };
  args.q = slice(0);
  args.k = slice(1);
  args.v = slice(2);
  args.row_stride = 3 * heads * head_dim;
  args.scale = 0.125f;
  args.out = Tensor(out.data(), DType::kF32, {rows, heads, head_dim});
  const auto stream = CpuOps().CreateStream();
  Run(state, dtype,
      4.0 * static_cast<double>(rows) * length * static_cast<double>(heads * head_dim),
      [&] { return CpuOps().Attention(args, batch.packed, *stream); });
}
void AttentionShapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"length", "heads", "head_dim"});
  for (const int64_t length : {64, 256, 1024}) {
    for (const int64_t head_dim : {32, 64, 128}) bench->Args({length, 8, head_dim});
  }
  bench->Args({4096, 2, 32})->Args({4096, 2, 64})->Args({4096, 2, 128});
  bench->Args({256, 16, 72})->Args({1024, 1, 512});
  bench->MinTime(0.1)->UseRealTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(BenchAttention, f32, DType::kF32)->Apply(AttentionShapes);
BENCHMARK_CAPTURE(BenchAttention, bf16, DType::kBf16)->Apply(AttentionShapes);

void BenchConv(benchmark::State& state, DType compute) {
  const int64_t size = state.range(0);
  const int64_t channels = state.range(1);
  if (!CpuOps().Supports(compute)) return state.SkipWithError("not on this instruction set");
  std::vector<float> weight = Values(channels * channels * 9);
  std::vector<float> x = Values(size * size * channels);
  std::vector<float> y(x.size());
  auto packed = CpuOps().PackConv(Tensor(weight.data(), DType::kF32, {channels, channels, 3, 3}),
                                  Tensor(), 1, ConvPadding::All(1), compute);
  if (!Good(state, packed.status())) return;
  const auto stream = CpuOps().CreateStream();
  const Conv2dArgs args{.x = Tensor(x.data(), DType::kF32, {size, size, channels}),
                        .weight = packed->get(),
                        .out = Tensor(y.data(), DType::kF32, {size, size, channels})};
  Run(state, compute, 18.0 * static_cast<double>(size * size * channels * channels),
      [&] { return CpuOps().Conv2d(args, *stream); });
}
BENCHMARK_CAPTURE(BenchConv, f32, DType::kF32)
    ->ArgNames({"size", "channels"})
    ->Args({32, 512})
    ->Args({64, 256})
    ->Args({128, 128})
    ->MinTime(0.1)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BenchConv, bf16, DType::kBf16)
    ->ArgNames({"size", "channels"})
    ->Args({32, 512})
    ->Args({128, 128})
    ->MinTime(0.1)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void BenchLayerNorm(benchmark::State& state) {
  const int rows = static_cast<int>(state.range(0));
  const int64_t dim = state.range(1);
  const Batch batch(1, rows);
  std::vector<float> x = Values(rows * dim);
  std::vector<float> out(x.size());
  std::vector<float> modulation = Values(2 * dim);
  LayerNormModulateArgs args;
  args.x = Tensor(x.data(), DType::kF32, {rows, dim});
  args.shift = Tensor(modulation.data(), DType::kF32, {1, dim});
  args.scale = Tensor(modulation.data() + dim, DType::kF32, {1, dim});
  args.out = Tensor(out.data(), DType::kF32, {rows, dim});
  const auto stream = CpuOps().CreateStream();
  Run(state, DType::kF32, 0.0,
      [&] { return CpuOps().LayerNormModulate(args, batch.packed, *stream); });
  state.SetBytesProcessed(state.iterations() * rows * dim * 8);
}
BENCHMARK(BenchLayerNorm)
    ->ArgNames({"rows", "dim"})
    ->Args({256, 1152})
    ->Args({4096, 1152})
    ->MinTime(0.1)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void BenchGroupNorm(benchmark::State& state) {
  const int64_t size = state.range(0);
  const int64_t channels = state.range(1);
  std::vector<float> x = Values(size * size * channels);
  std::vector<float> out(x.size());
  std::vector<float> affine = Values(2 * channels);
  GroupNormArgs args;
  args.x = Tensor(x.data(), DType::kF32, {size, size, channels});
  args.gamma = Tensor(affine.data(), DType::kF32, {channels});
  args.beta = Tensor(affine.data() + channels, DType::kF32, {channels});
  args.silu = true;
  args.out = Tensor(out.data(), DType::kF32, {size, size, channels});
  const auto stream = CpuOps().CreateStream();
  Run(state, DType::kF32, 0.0, [&] { return CpuOps().GroupNorm(args, *stream); });
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(x.size()) * 12);
}
BENCHMARK(BenchGroupNorm)
    ->ArgNames({"size", "channels"})
    ->Args({256, 128})
    ->MinTime(0.1)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  std::printf("%s; %s\n", darkroom::CpuOps().DeviceName().c_str(),
              darkroom::CpuOps().Libraries().c_str());
  std::printf("ceiling (oneDNN 1024^3, same threads): f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s\n",
              darkroom::Ceiling(darkroom::DType::kF32), darkroom::Ceiling(darkroom::DType::kBf16));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
