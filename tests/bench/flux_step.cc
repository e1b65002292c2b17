// One denoising step of FLUX.1's transformer, for flux_bench.py, which runs it beside diffusers.
//
//   flux_step FOLDER ROWS COLUMNS TEXT_TOKENS THREADS PRECISION
//
// FOLDER: a diffusers folder with a transformer, and the inputs as raw f32: latents.bin [channels,
// 2 * ROWS, 2 * COLUMNS], embeddings.bin [TEXT_TOKENS, width], pooled.bin [width]. Answers on
// standard output, a line each, to lines on standard input: "step" with the seconds of one step,
// "gemm" and "fma" with GFLOP/s of our matrix product of 2048^3 and of nothing but multiply-adds in
// registers, "out PATH" with "ok" when the last step's output [tokens, out_channels] was written.

#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "device/cpu/cpu_ops.h"
#include "model/config_reader.h"
#include "model/load_parts.h"
#include "model/transformers/flux.h"
#include "model/weights.h"

namespace darkroom {
namespace {

constexpr float kTimestep = 500.0f;
constexpr float kGuidance = 3500.0f;

[[noreturn]] void Fail(const absl::Status& status) {
  std::cerr << status.ToString() << "\n";
  std::exit(1);
}

void Require(const absl::Status& status) {
  if (!status.ok()) Fail(status);
}

template <typename T>
T Require(absl::StatusOr<T> value) {
  if (!value.ok()) Fail(value.status());
  return *std::move(value);
}

std::vector<float> ReadFloats(const std::string& path, int64_t count) {
  std::vector<float> values(count);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!file) Fail(absl::NotFoundError(absl::StrCat(path, " is missing or too short")));
  return values;
}

// With one thread its own processor time, so that others who use the machine count for little.
bool single_thread = false;

double Seconds() {
  timespec now;
  clock_gettime(single_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// A batch of one sequence, of `rows` rows.
struct Batch {
  explicit Batch(int32_t rows) : boundaries{0, rows}, row_to_sequence(rows), live_rows(rows) {
    packed.capacity = rows;
    packed.sequences_max = 1;
    packed.live_rows = &live_rows;
    packed.live_sequences = &live_sequences;
    packed.boundaries = boundaries;
    packed.row_to_sequence = row_to_sequence.data();
  }
  int32_t boundaries[2];
  std::vector<int32_t> row_to_sequence;
  int32_t live_rows;
  int32_t live_sequences = 1;
  PackedBatch packed;
};

class Step {
 public:
  Step(const std::string& path, int rows, int columns, int text_tokens, DType compute, Ops& ops)
      : ops_(ops),
        stream_(ops.CreateStream()),
        text_(text_tokens),
        image_(rows * columns),
        joint_(text_tokens + rows * columns),
        one_(1) {
    ModelFolder folder = Require(ModelFolder::Open(path));
    const FluxConfig config =
        Require(ReadConfig(folder, "transformer/config.json", &ReadFluxConfig));
    Weights weights = Require(Weights::Open(folder, "transformer"));
    transformer_ = std::make_unique<FluxTransformer>(config, weights);
    Require(weights.Check());
    Require(transformer_->Load(compute, ops_, *stream_));
    latents_ =
        ReadFloats(path + "/latents.bin", int64_t{config.latent_channels()} * 4 * rows * columns);
    view_ = {latents_.data(), config.latent_channels(), 2 * rows, 2 * columns, 0};
    Embed(config, path, text_tokens);
    Rotate(config, rows, columns);
    // The joint batch's image rows follow its text rows.
    joint_prefix_[1] = text_tokens;
    joint_.boundaries[0] = text_tokens;
    joint_.packed.prefix_boundaries = joint_prefix_;
    out_.resize(static_cast<size_t>(rows) * columns * config.out_channels);
    scratch_ = Require(ops_.Allocate(transformer_->ScratchBytes(joint_.packed.capacity, 1)));
    Fill(config);
  }

  double Run() {
    const double begin = Seconds();
    Require(transformer_->Forward(forward_, *stream_));
    Require(stream_->Synchronize());
    return Seconds() - begin;
  }
  const std::vector<float>& out() const { return out_; }

 private:
  void Embed(const FluxConfig& config, const std::string& path, int64_t tokens) {
    std::vector<float> embeddings =
        ReadFloats(path + "/embeddings.bin", tokens * config.joint_attention_dim);
    std::vector<float> pooled = ReadFloats(path + "/pooled.bin", config.pooled_projection_dim);
    std::vector<float> hidden(config.dim());
    context_.resize(tokens * config.dim());
    vector_.resize(config.dim());
    FluxTransformer::Prompt prompt;
    prompt.tokens = text_.packed;
    prompt.sequences = one_.packed;
    prompt.embeddings =
        Tensor(embeddings.data(), DType::kF32, {tokens, config.joint_attention_dim});
    prompt.pooled = Tensor(pooled.data(), DType::kF32, {1, config.pooled_projection_dim});
    prompt.hidden = Tensor(hidden.data(), DType::kF32, {1, config.dim()});
    prompt.context = Tensor(context_.data(), DType::kF32, {tokens, config.dim()});
    prompt.vector = Tensor(vector_.data(), DType::kF32, {1, config.dim()});
    Require(transformer_->EmbedPrompt(prompt, *stream_));
  }

  void Rotate(const FluxConfig& config, int rows, int columns) {
    const int64_t half = config.head_dim / 2;
    cosines_.resize(rows * columns * half);
    sines_.resize(cosines_.size());
    for (int i = 0; i < rows * columns; ++i) {
      FluxRotation(config, i / columns, i % columns, cosines_.data() + i * half,
                   sines_.data() + i * half);
    }
  }

  void Fill(const FluxConfig& config) {
    forward_.blocks = {0, config.blocks()};
    forward_.text = text_.packed;
    forward_.image = image_.packed;
    forward_.joint = joint_.packed;
    forward_.per_sequence = one_.packed;
    forward_.timesteps = &kTimestep;
    forward_.guidances = &kGuidance;
    forward_.views = &view_;
    pointers_[0] = context_.data();
    pointers_[1] = vector_.data();
    pointers_[2] = cosines_.data();
    pointers_[3] = sines_.data();
    forward_.contexts = pointers_;
    forward_.vectors = pointers_ + 1;
    forward_.cosines = pointers_ + 2;
    forward_.sines = pointers_ + 3;
    forward_.out = Tensor(out_.data(), DType::kF32, {image_.packed.capacity, config.out_channels});
    forward_.scratch = scratch_->data();
  }

  Ops& ops_;
  std::unique_ptr<Stream> stream_;
  Batch text_, image_, joint_, one_;
  int32_t joint_prefix_[2] = {0, 0};
  std::unique_ptr<FluxTransformer> transformer_;
  std::vector<float> latents_, context_, vector_, cosines_, sines_, out_;
  LatentView view_{};
  const float* pointers_[4] = {};
  std::unique_ptr<DeviceBuffer> scratch_;
  FluxForward forward_;
};

// Our own matrix product: what a transformer of nothing but large layers could reach.
double GemmGflops(DType compute, Ops& ops) {
  constexpr int kSize = 2048;
  const auto stream = ops.CreateStream();
  std::vector<float> weight(size_t{kSize} * kSize, 0.5f);
  std::vector<float> x(weight.size(), 0.25f);
  std::vector<float> y(weight.size());
  const auto packed = Require(
      ops.PackLinear(Tensor(weight.data(), DType::kF32, {kSize, kSize}), Tensor(), compute));
  Batch batch(kSize);
  const LinearArgs args{.x = Tensor(x.data(), DType::kF32, {kSize, kSize}),
                        .weight = packed.get(),
                        .out = Tensor(y.data(), DType::kF32, {kSize, kSize})};
  const double begin = Seconds();
  Require(ops.Linear(args, batch.packed, *stream));
  return 2e-9 * kSize * kSize * kSize / (Seconds() - begin);
}

// Nothing but multiply-adds on registers, as many in flight as the processor takes.
#if defined(__x86_64__)
constexpr int64_t kFmaIterations = 600'000;
constexpr int kFmaRounds = 32;
constexpr int kFmaChains = 12;

__attribute__((target("avx2,fma"))) float FmaLoop() {
  __m256 a = _mm256_set1_ps(0.5f);
  __m256 sum[kFmaChains];
  for (__m256& chain : sum) chain = a;
  for (int64_t i = 0; i < kFmaIterations; ++i) {
    // Opaque to the compiler, so that all chains stay in registers.
    __asm__ volatile(
        ".rept %c13\n"
        "vfmadd231ps %12, %12, %0\n vfmadd231ps %12, %12, %1\n vfmadd231ps %12, %12, %2\n"
        "vfmadd231ps %12, %12, %3\n vfmadd231ps %12, %12, %4\n vfmadd231ps %12, %12, %5\n"
        "vfmadd231ps %12, %12, %6\n vfmadd231ps %12, %12, %7\n vfmadd231ps %12, %12, %8\n"
        "vfmadd231ps %12, %12, %9\n vfmadd231ps %12, %12, %10\n vfmadd231ps %12, %12, %11\n"
        ".endr\n"
        : "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "+x"(sum[3]), "+x"(sum[4]), "+x"(sum[5]),
          "+x"(sum[6]), "+x"(sum[7]), "+x"(sum[8]), "+x"(sum[9]), "+x"(sum[10]), "+x"(sum[11])
        : "x"(a), "i"(kFmaRounds));
  }
  float total = 0.0f;
  for (const __m256& chain : sum) total += _mm256_cvtss_f32(chain);
  return total;
}

double FmaGflops(int threads) {
  std::atomic<float> sink{0.0f};
  const double begin = Seconds();
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back([&sink] { sink.store(FmaLoop()); });
  sink.store(FmaLoop());
  for (std::thread& thread : others) thread.join();
  return 1e-9 * kFmaIterations * kFmaRounds * kFmaChains * 8 * 2 * threads / (Seconds() - begin);
}
#else
double FmaGflops(int) { return 0.0; }
#endif

int Main(int argc, char** argv) {
  const std::string precision = argc == 7 ? argv[6] : "";
  if (precision != "f32" && precision != "bf16") {
    std::cerr << "flux_step FOLDER ROWS COLUMNS TEXT_TOKENS THREADS f32|bf16\n";
    return 2;
  }
  const int threads = std::max(1, std::atoi(argv[5]));
  single_thread = threads == 1;
  const DType compute = precision == "bf16" ? DType::kBf16 : DType::kF32;
  const std::unique_ptr<Ops> ops = CreateCpuOps(threads);
  Step step(argv[1], std::max(1, std::atoi(argv[2])), std::max(1, std::atoi(argv[3])),
            std::max(1, std::atoi(argv[4])), compute, *ops);
  std::cout << ops->DeviceName() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "step") {
      std::cout << step.Run() << std::endl;
    } else if (line == "gemm") {
      std::cout << GemmGflops(compute, *ops) << std::endl;
    } else if (line == "fma") {
      std::cout << FmaGflops(threads) << std::endl;
    } else if (line.rfind("out ", 0) == 0) {
      std::ofstream file(line.substr(4), std::ios::binary);
      file.write(reinterpret_cast<const char*>(step.out().data()),
                 static_cast<std::streamsize>(step.out().size() * sizeof(float)));
      std::cout << (file ? "ok" : "failed") << std::endl;
    }
  }
  return 0;
}

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) { return darkroom::Main(argc, argv); }
