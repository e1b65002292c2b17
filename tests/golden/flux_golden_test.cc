#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "device/cpu/cpu_ops.h"
#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "model/denoisers/flux_denoiser.h"
#include "model/load_parts.h"
#include "model/noise.h"
#include "model/samplers/flow_match.h"
#include "model/transformers/flux.h"
#include "testing/reference_ops.h"

// FLUX.1 in float32 against diffusers: layer by layer, step by step, and whole pictures.
namespace darkroom::golden {
namespace {

// Tighter than the 1e-4 that is promised, so that a wrong epsilon in a norm is found.
constexpr double kLatentsTolerance = 3e-5;
constexpr double kSigmaTolerance = 1e-6;
constexpr int kPixelTolerance = 1;

struct Backend {
  const char* name;
  std::unique_ptr<Ops> (*make)();
};

const Backend kReference = {
    "reference", [] { return std::unique_ptr<Ops>(std::make_unique<testing::ReferenceOps>()); }};
const Backend kCpu = {"cpu", [] { return CreateCpuOps(2); }};

// Gives the embeddings that transformers gave.
class RecordedPrompt : public PromptEncoder {
 public:
  RecordedPrompt(const FluxConfig& config, PromptEmbedding embedding)
      : config_(config), embedding_(std::move(embedding)) {}

  absl::Status Load(DType, Ops&, Stream&) override { return absl::OkStatus(); }
  int hidden_width() const override { return config_.joint_attention_dim; }
  int pooled_width() const override { return config_.pooled_projection_dim; }
  int tokens_max() const override { return embedding_.tokens; }
  absl::StatusOr<std::shared_ptr<const PromptEmbedding>> Encode(uint64_t, std::string_view, int,
                                                                Stream&) override {
    return std::make_shared<const PromptEmbedding>(embedding_);
  }

 private:
  FluxConfig config_;
  PromptEmbedding embedding_;
};

class FluxGoldenTest : public ::testing::TestWithParam<std::tuple<const char*, const Backend*>> {
 protected:
  FluxGoldenTest()
      : fixture_(absl::StrCat("flux_", std::get<0>(GetParam()), "/goldens.json")),
        ops_(std::get<1>(GetParam())->make()),
        stream_(ops_->CreateStream()) {}

  std::string ModelPath() const {
    return fixture_.folder() + "/" + fixture_.json().at("model").get<std::string>();
  }
  const Json& Case(const std::string& name) const {
    for (const Json& entry : fixture_.json().at("cases")) {
      if (entry.at("name") == name) return entry;
    }
    ADD_FAILURE() << "no case " << name;
    return fixture_.json();
  }

  // The model's transformer, told what transformers made of the prompt; `probed` is inside.
  std::unique_ptr<FluxDenoiser> LoadDenoiser(ModelFolder& folder, const FluxConfig& config,
                                             FluxTransformer*& probed) {
    absl::StatusOr<Weights> weights = Weights::Open(folder, "transformer");
    EXPECT_TRUE(weights.ok()) << weights.status();
    auto transformer = std::make_unique<FluxTransformer>(config, *weights);
    EXPECT_TRUE(weights->Check().ok()) << weights->Check();
    probed = transformer.get();
    PromptEmbedding embedding{static_cast<int>(fixture_.Get("text.prompt_embeds").dim(0)),
                              fixture_.Floats("text.prompt_embeds"),
                              fixture_.Floats("text.pooled_prompt_embeds")};
    auto denoiser = std::make_unique<FluxDenoiser>(
        std::move(transformer), std::make_unique<RecordedPrompt>(config, std::move(embedding)),
        *ops_);
    EXPECT_TRUE(denoiser->Load(DType::kF32, *stream_).ok());
    return denoiser;
  }

  // Compares what the transformer shows with what diffusers recorded; counts the tensors.
  void CompareLayers(FluxTransformer& probed, int64_t image_tokens, int& compared) {
    probed.set_probe([this, image_tokens, &compared](std::string_view name, const Tensor& tensor) {
      const auto compare = [&](const std::string& golden, const float* values) {
        ASSERT_TRUE(fixture_.Has(golden)) << golden;
        const std::vector<float> expected = fixture_.Floats(golden);
        EXPECT_LE(MaxDifference({values, values + expected.size()}, expected), kLatentsTolerance)
            << golden;
        ++compared;
      };
      const std::string golden = absl::StrCat("text.transformer.", std::string(name));
      if (!name.starts_with("single.")) return compare(golden, tensor.as<float>());
      // Both streams: text first; the image's rows begin where the text's capacity ends.
      const int64_t image_rows = (image_tokens + 63) / 64 * 64;
      const int64_t begin = tensor.dim(0) - image_rows;
      compare(golden + ".text", tensor.as<float>());
      compare(golden + ".image", tensor.as<float>() + begin * tensor.dim(1));
    });
  }

  Fixture fixture_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
};

TEST_P(FluxGoldenTest, TransformerLayerByLayer) {
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(ModelPath());
  ASSERT_TRUE(folder.ok()) << folder.status();
  const auto config = ReadConfig(*folder, "transformer/config.json", &ReadFluxConfig);
  ASSERT_TRUE(config.ok()) << config.status();
  FluxTransformer* probed = nullptr;
  const std::unique_ptr<FluxDenoiser> denoiser = LoadDenoiser(*folder, *config, probed);

  const Json& entry = Case("text");
  const std::vector<float> after = fixture_.Floats("text.latents_after");
  const Tensor shape = fixture_.Get("text.latents_after");  // [steps, channels, height, width]
  const size_t count = after.size() / static_cast<size_t>(shape.dim(0));
  std::vector<float> noise(count);
  FillNoise(entry.at("seed").get<uint64_t>(), absl::MakeSpan(noise));
  auto latents = Upload(*ops_, noise, *stream_);
  ASSERT_TRUE(latents.ok());
  auto conditioning = denoiser->Encode({.prompt = "recorded",
                                        .latent_height = static_cast<int>(shape.dim(2)),
                                        .latent_width = static_cast<int>(shape.dim(3))},
                                       *stream_);
  ASSERT_TRUE(conditioning.ok()) << conditioning.status();

  const auto sampler =
      ReadConfig(*folder, "scheduler/scheduler_config.json", &ReadFlowMatchEulerConfig);
  ASSERT_TRUE(sampler.ok()) << sampler.status();
  const int64_t tokens = shape.dim(2) / 2 * (shape.dim(3) / 2);
  const int steps = entry.at("steps").get<int>();
  const Schedule schedule = FlowMatchEulerSampler(*sampler).MakeSchedule(steps, tokens, 1.0);
  const std::vector<float> sigmas = fixture_.Floats("text.sigmas");

  int compared = 0;
  CompareLayers(*probed, tokens, compared);
  StepJob job;
  job.identity = 1;
  job.conditioning = conditioning->get();
  job.latents = {.data = static_cast<float*>((*latents)->data()),
                 .channels = static_cast<int32_t>(shape.dim(1)),
                 .height = static_cast<int32_t>(shape.dim(2)),
                 .width = static_cast<int32_t>(shape.dim(3)),
                 .pad = 0};
  job.distilled_guidance = entry.at("guidance_scale").get<float>();
  for (int step = 0; step < steps; ++step) {
    job.evaluation = schedule.evaluations[static_cast<size_t>(step)];
    EXPECT_NEAR(job.evaluation.sigma, sigmas[static_cast<size_t>(step)], kSigmaTolerance);
    ASSERT_TRUE(denoiser->Run({job}, *stream_).ok());
    probed->set_probe(nullptr);
    std::vector<float> now(count);
    ASSERT_TRUE(
        ops_->CopyToHost(now.data(), job.latents.data, count * sizeof(float), *stream_).ok());
    const auto begin = after.begin() + static_cast<int64_t>(count) * step;
    EXPECT_LE(MaxDifference(now, {begin, begin + static_cast<int64_t>(count)}), kLatentsTolerance)
        << "step " << step;
  }
  EXPECT_EQ(compared, 3 + 2 * (config->layers + config->single_layers));
}

std::string NameOf(const ::testing::TestParamInfo<FluxGoldenTest::ParamType>& info) {
  return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)->name);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, FluxGoldenTest,
                         ::testing::Combine(::testing::Values("dev", "schnell", "sharded"),
                                            ::testing::Values(&kReference, &kCpu)),
                         NameOf);

}  // namespace
}  // namespace darkroom::golden
