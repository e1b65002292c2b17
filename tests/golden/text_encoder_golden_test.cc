#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "device/cpu/cpu_ops.h"
#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "model/load_parts.h"
#include "model/text_encoders/clip_text_encoder.h"
#include "model/text_encoders/t5_encoder.h"
#include "testing/reference_ops.h"

// Text encoders in float32 against transformers, layer by layer.
namespace darkroom::golden {
namespace {

// Tighter than the 1e-4 that is promised, so that a wrong epsilon in a norm is found.
constexpr double kTolerance = 2e-5;

struct Backend {
  const char* name;
  std::unique_ptr<Ops> (*make)();
};

const Backend kReference = {
    "reference", [] { return std::unique_ptr<Ops>(std::make_unique<testing::ReferenceOps>()); }};
const Backend kCpu = {"cpu", [] { return CreateCpuOps(2); }};

class TextEncoderGoldenTest
    : public ::testing::TestWithParam<std::tuple<const char*, const Backend*>> {
 protected:
  TextEncoderGoldenTest()
      : fixture_("text_encoders/goldens.json"),
        name_(std::get<0>(GetParam())),
        ops_(std::get<1>(GetParam())->make()),
        stream_(ops_->CreateStream()) {}

  template <typename Encoder, typename Config>
  absl::StatusOr<std::unique_ptr<TextEncoder>> Load(ModelFolder& folder,
                                                    absl::StatusOr<Config> (*read)(ConfigReader&)) {
    const absl::StatusOr<Config> config = ReadConfig(folder, name_ + "/config.json", read);
    if (!config.ok()) return config.status();
    auto weights = Weights::Open(folder, name_, kTransformersWeights);
    if (!weights.ok()) return weights.status();
    weights_ = std::make_unique<Weights>(*std::move(weights));
    auto encoder = std::make_unique<Encoder>(*config, *weights_);
    if (absl::Status status = weights_->Check(); !status.ok()) return status;
    if (absl::Status status = encoder->Load(DType::kF32, *ops_, *stream_); !status.ok()) {
      return status;
    }
    return encoder;
  }

  Fixture fixture_;
  std::string name_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Weights> weights_;
};

TEST_P(TextEncoderGoldenTest, LayersHiddenStatesAndPooled) {
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(fixture_.folder());
  ASSERT_TRUE(folder.ok()) << folder.status();
  Json golden;
  for (const Json& entry : fixture_.json().at("encoders")) {
    if (entry.at("name") == name_) golden = entry;
  }
  ASSERT_FALSE(golden.is_null());
  const bool clip = golden.at("kind") == "clip";
  const auto encoder = clip ? Load<ClipTextEncoder>(*folder, &ReadClipTextConfig)
                            : Load<T5Encoder>(*folder, &ReadT5Config);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const auto prompts = golden.at("prompts").get<std::vector<std::vector<int32_t>>>();

  const auto expect = [&](const std::string& tensor, const std::vector<float>& values) {
    ASSERT_TRUE(fixture_.Has(tensor)) << tensor;
    EXPECT_LE(MaxDifference(values, fixture_.Floats(tensor)), kTolerance) << tensor;
  };
  const auto number = golden.at("layers_of").get<size_t>();
  int layers = 0;
  (*encoder)->set_probe([&](std::string_view layer, const Tensor& tensor) {
    const auto* values = tensor.as<float>();
    const auto count = prompts[number].size() * static_cast<size_t>((*encoder)->width());
    expect(absl::StrCat(name_, ".", number, ".", std::string(layer)), {values, values + count});
    ++layers;
  });
  ASSERT_TRUE((*encoder)->Encode({prompts[number]}, *stream_).ok());
  EXPECT_GE(layers, clip ? 2 : 3);
  (*encoder)->set_probe(nullptr);

  const auto all = (*encoder)->Encode(prompts, *stream_);
  ASSERT_TRUE(all.ok()) << all.status();
  for (size_t i = 0; i < prompts.size(); ++i) {
    expect(absl::StrCat(name_, ".", i, ".hidden"), (*all)[i].hidden);
    if (clip) expect(absl::StrCat(name_, ".", i, ".pooled"), (*all)[i].pooled);
  }
}

std::string NameOf(const ::testing::TestParamInfo<TextEncoderGoldenTest::ParamType>& info) {
  return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)->name);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TextEncoderGoldenTest,
                         ::testing::Combine(::testing::Values("clip_quick", "clip_legacy",
                                                              "t5_gated", "t5_relu", "t5_silu"),
                                            ::testing::Values(&kReference, &kCpu)),
                         NameOf);

}  // namespace
}  // namespace darkroom::golden
