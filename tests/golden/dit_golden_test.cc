#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "darkroom/pipeline.h"
#include "device/cpu/cpu_ops.h"
#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "model/autoencoders/autoencoder_kl_decoder.h"
#include "model/denoisers/dit_denoiser.h"
#include "model/model_folder.h"
#include "model/transformers/dit.h"
#include "model/weights.h"
#include "testing/reference_ops.h"
#include "testing/temp_folder.h"

namespace darkroom::golden {
namespace {

// Tighter than the 1e-4 that is promised, so that a wrong epsilon in a norm is found.
constexpr double kLatentsTolerance = 3e-5;
constexpr int kPixelTolerance = 1;

struct Backend {
  const char* name;
  std::unique_ptr<Ops> (*make)();
};

const Backend kReference = {
    "reference", [] { return std::unique_ptr<Ops>(std::make_unique<testing::ReferenceOps>()); }};
const Backend kCpu = {"cpu", [] { return CreateCpuOps(2); }};

class DitGoldenTest : public ::testing::TestWithParam<std::tuple<const char*, const Backend*>> {
 protected:
  DitGoldenTest()
      : fixture_(absl::StrCat("dit_", std::get<0>(GetParam()), "/goldens.json")),
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

  // A copy of the model in which the golden class has a name, and no other.
  std::string NamedModel(int class_label) const {
    const std::filesystem::path copy = copies_.Path(absl::StrCat("class", class_label));
    std::filesystem::remove_all(copy);
    std::filesystem::copy(ModelPath(), copy, std::filesystem::copy_options::recursive);
    std::ifstream in(copy / "model_index.json");
    Json index = Json::parse(in);
    index["id2label"] = Json::object({{absl::StrCat(class_label), "golden"}});
    std::ofstream(copy / "model_index.json") << index;
    return copy;
  }

  const testing::TempFolder copies_;
  Fixture fixture_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
};

std::vector<float> Rows(const Tensor& tensor, size_t count) {
  const auto* values = tensor.as<float>();
  return {values, values + count};
}

// Runs one case through the pipeline, comparing latents after every step, and the picture.
void RunCase(Pipeline& pipeline, const Fixture& fixture, const Json& entry) {
  const std::string name = entry.at("name").get<std::string>();
  const int steps = entry.at("steps").get<int>();
  v1::OpenSlot open;
  open.set_prompt("golden");
  open.set_width(entry.at("image_size").get<int>());
  open.set_height(open.width());
  open.set_guidance_scale(entry.at("guidance_scale").get<double>());
  open.set_seed(entry.at("seed").get<int64_t>());
  open.set_steps(steps);
  open.set_sampler("ddim");
  ASSERT_TRUE(pipeline.Open(open, {}, {}).ok());

  v1::BatchPlan plan;
  v1::PlanJob& job = *plan.add_jobs();
  job.mutable_returns()->set_checkpoint(true);
  const std::vector<int> live = {0};
  const std::vector<int64_t> timesteps = fixture.Ints(name + ".timesteps");
  const std::vector<float> expected = fixture.Floats(name + ".latents_after");
  const size_t size = expected.size() / static_cast<size_t>(steps);
  for (int step = 0; step < steps; ++step) {
    std::vector<JobOutcome> outcomes(1);
    job.set_step_index(step);
    ASSERT_TRUE(pipeline.Denoise(plan, live, absl::MakeSpan(outcomes)).ok());
    ASSERT_TRUE(outcomes[0].status.ok()) << outcomes[0].status;
    EXPECT_EQ(outcomes[0].sigma, static_cast<double>(timesteps[static_cast<size_t>(step)]));
    ASSERT_EQ(outcomes[0].checkpoint_tensors.size(), 1u);
    const std::string_view bytes = outcomes[0].checkpoint_tensors[0].bytes();
    std::vector<float> latents(bytes.size() / sizeof(float));
    std::memcpy(latents.data(), bytes.data(), bytes.size());
    const auto begin = expected.begin() + static_cast<int64_t>(size) * step;
    const std::vector<float> due(begin, begin + static_cast<int64_t>(size));
    EXPECT_LE(MaxDifference(latents, due), kLatentsTolerance) << name << " step " << step;
  }

  std::vector<JobOutcome> outcomes(1);
  ASSERT_TRUE(pipeline.Decode(plan, live, absl::MakeSpan(outcomes)).ok());
  ASSERT_TRUE(outcomes[0].status.ok()) << outcomes[0].status;
  const Tensor image = fixture.Get(name + ".image");
  const std::string_view pixels = outcomes[0].output.bytes();
  ASSERT_EQ(pixels.size(), image.bytes());
  int largest = 0;
  for (size_t i = 0; i < pixels.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<unsigned char>(pixels[i]) -
                                         image.as<const unsigned char>()[i]));
  }
  EXPECT_LE(largest, kPixelTolerance) << name;
  pipeline.Close(0, true);
}

TEST_P(DitGoldenTest, LatentsAtEveryStepAndPixels) {
  const std::string path = NamedModel(Case("native_g1").at("class_label").get<int>());
  auto pipeline = LoadPipeline(path, LoadOptions{.name = "models/golden"}, *ops_);
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  for (const Json& entry : fixture_.json().at("cases")) RunCase(**pipeline, fixture_, entry);
}

TEST_P(DitGoldenTest, TransformerLayerByLayer) {
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(ModelPath());
  ASSERT_TRUE(folder.ok()) << folder.status();
  absl::StatusOr<Json> json = folder->ReadJson("transformer/config.json");
  ASSERT_TRUE(json.ok()) << json.status();
  ConfigReader reader(*json, "transformer/config.json");
  absl::StatusOr<DitConfig> config = ReadDitConfig(reader);
  ASSERT_TRUE(config.ok()) << config.status();
  absl::StatusOr<Weights> weights = Weights::Open(*folder, "transformer");
  ASSERT_TRUE(weights.ok()) << weights.status();
  auto loaded = std::make_unique<DitTransformer>(*config, *weights);
  ASSERT_TRUE(weights->Check().ok()) << weights->Check();
  DitTransformer& transformer = *loaded;
  const std::string class_name = "golden";
  const Json names = {
      {"id2label", {{absl::StrCat(Case("native_g4").at("class_label").get<int>()), class_name}}}};
  DitDenoiser denoiser(std::move(loaded), *ClassNames::Parse(names, config->classes), *ops_);
  ASSERT_TRUE(denoiser.Load(DType::kF32, *stream_).ok());
  for (const std::string name : {"native_g4", "other_g4"}) {
    const Json& entry = Case(name);
    const int size = entry.at("latent_size").get<int>();
    auto conditioning = denoiser.Encode(
        {.prompt = class_name, .guided = true, .latent_height = size, .latent_width = size},
        *stream_);
    ASSERT_TRUE(conditioning.ok()) << conditioning.status();
    auto latents = Upload(*ops_, fixture_.Floats(name + ".latents"), *stream_);
    ASSERT_TRUE(latents.ok());

    int compared = 0;
    transformer.set_probe([&](std::string_view layer, const Tensor& tensor) {
      const std::string golden = absl::StrCat(name, ".transformer.", std::string(layer));
      if (!fixture_.Has(golden)) return;
      const std::vector<float> expected = fixture_.Floats(golden);
      EXPECT_LE(MaxDifference(Rows(tensor, expected.size()), expected), kLatentsTolerance)
          << golden;
      ++compared;
    });
    StepJob job;
    job.identity = static_cast<uint64_t>(size);
    job.conditioning = conditioning->get();
    job.latents = {.data = static_cast<float*>((*latents)->data()),
                   .channels = config->in_channels,
                   .height = size,
                   .width = size,
                   .pad = 0};
    job.cfg_scale = 4.0f;
    job.evaluation.timestep = static_cast<float>(fixture_.Ints(name + ".timesteps")[0]);
    job.evaluation.sample = 0.0f;
    job.evaluation.model = 1.0f;
    ASSERT_TRUE(denoiser.Run({job}, *stream_).ok());
    EXPECT_EQ(compared, name == "native_g4" ? 6 : 1);

    // With these coefficients the next latents are the guided model output.
    const std::vector<float> outputs = fixture_.Floats(name + ".model_outputs");
    const auto count = static_cast<size_t>(int64_t{config->in_channels} * size * size);
    std::vector<float> output(count);
    ASSERT_TRUE(
        ops_->CopyToHost(output.data(), (*latents)->data(), count * sizeof(float), *stream_).ok());
    EXPECT_LE(
        MaxDifference(output, {outputs.begin(), outputs.begin() + static_cast<int64_t>(count)}),
        kLatentsTolerance);
  }
}

// [channels, height, width] of what the decoder keeps as [height, width, channels].
std::vector<float> ChannelsFirst(const Tensor& tensor) {
  std::vector<float> out;
  const int64_t pixels = tensor.dim(0) * tensor.dim(1);
  for (int64_t channel = 0; channel < tensor.dim(2); ++channel) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      out.push_back(tensor.as<float>()[pixel * tensor.dim(2) + channel]);
    }
  }
  return out;
}

TEST_P(DitGoldenTest, DecoderLayerByLayer) {
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(ModelPath());
  ASSERT_TRUE(folder.ok()) << folder.status();
  absl::StatusOr<Json> json = folder->ReadJson("vae/config.json");
  ASSERT_TRUE(json.ok()) << json.status();
  ConfigReader reader(*json, "vae/config.json");
  absl::StatusOr<AutoencoderKlConfig> config = ReadAutoencoderKlConfig(reader);
  ASSERT_TRUE(config.ok()) << config.status();
  absl::StatusOr<Weights> weights = Weights::Open(*folder, "vae");
  ASSERT_TRUE(weights.ok()) << weights.status();
  AutoencoderKlDecoder decoder(*config, *weights);
  weights->Ignore({"encoder.", "quant_conv."});
  ASSERT_TRUE(weights->Check().ok()) << weights->Check();
  ASSERT_TRUE(decoder.Load(*ops_, *stream_).ok());

  const int size = Case("native_g4").at("latent_size").get<int>();
  const std::vector<float> after = fixture_.Floats("native_g4.latents_after");
  const int64_t count = int64_t{config->latent_channels} * size * size;
  auto latents = Upload(*ops_, {after.end() - count, after.end()}, *stream_);
  ASSERT_TRUE(latents.ok());
  int compared = 0;
  decoder.set_probe([&](std::string_view layer, const Tensor& tensor) {
    const bool last = layer == "pixels";
    const std::string golden =
        absl::StrCat("native_g4.", last ? "" : "decoder.", std::string(layer));
    if (!fixture_.Has(golden)) return;
    const std::vector<float> expected = fixture_.Floats(golden);
    const double tolerance = kLatentsTolerance * std::max(1.0, MaxMagnitude(expected));
    EXPECT_LE(MaxDifference(ChannelsFirst(tensor), expected), tolerance) << golden;
    ++compared;
  });
  const int image_size = size * config->factor();
  std::vector<uint8_t> pixels(static_cast<size_t>(image_size) * static_cast<size_t>(image_size) *
                              3);
  ASSERT_TRUE(decoder
                  .Decode({.data = static_cast<float*>((*latents)->data()),
                           .channels = config->latent_channels,
                           .height = size,
                           .width = size,
                           .pad = 0},
                          pixels.data(), *stream_)
                  .ok());
  EXPECT_GE(compared, 4);
}

std::string ParameterName(
    const ::testing::TestParamInfo<std::tuple<const char*, const Backend*>>& info) {
  return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)->name);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, DitGoldenTest,
                         ::testing::Combine(::testing::Values("base", "odd_heads", "patch4",
                                                              "patch4_sharded", "classes1000"),
                                            ::testing::Values(&kReference, &kCpu)),
                         ParameterName);

}  // namespace
}  // namespace darkroom::golden
