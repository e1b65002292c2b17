#include "model/autoencoders/autoencoder_kl_decoder.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_folder.h"
#include "nlohmann/json.hpp"
#include "testing/reference_ops.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

// Numbers are compared with diffusers' in tests/golden.

absl::StatusOr<AutoencoderKlConfig> Read(const Json& json) {
  ConfigReader reader(json, "vae/config.json");
  return ReadAutoencoderKlConfig(reader);
}

Json TinyConfig() { return Json::parse(testing::TinyDitModel().Build().vae_config.dump()); }

TEST(AutoencoderKlConfigTest, Reads) {
  const absl::StatusOr<AutoencoderKlConfig> config = Read(TinyConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->factor(), 2);
  EXPECT_EQ(config->scaling_factor, 0.5);
  EXPECT_EQ(config->shift_factor, 0.0);
  EXPECT_TRUE(config->post_quant_conv);
}

TEST(AutoencoderKlConfigTest, RefusesByName) {
  const std::pair<const char*, Json> changes[] = {
      {"block_out_channels", Json::array()},
      {"block_out_channels", {8, 10}},
      {"block_out_channels", {8, 8, 8}},
      {"up_block_types", {"UpDecoderBlock2D", "AttnUpDecoderBlock2D"}},
      {"act_fn", "relu"},
      {"out_channels", 4},
      {"norm_num_groups", 3},
      {"latents_mean", {0.1, 0.2, 0.3, 0.4}},
      {"latents_std", {0.1, 0.2, 0.3, 0.4}},
      {"scaling_factor", 0},
      {"scaling_factor", "1"},
      {"latent_channels", 0},
      {"temporal_layers", 2},
  };
  for (const auto& [field, value] : changes) {
    Json json = TinyConfig();
    json[field] = value;
    const absl::Status status = Read(json).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << field << " " << value;
    const bool divided = std::string(field) == "block_out_channels";
    EXPECT_THAT(std::string(status.message()),
                ::testing::AnyOf(HasSubstr(field), HasSubstr(divided ? "norm_num_groups" : field),
                                 HasSubstr(divided ? "up_block_types" : field)))
        << value;
  }
}

// A decoder from a tiny model on its own ops.
class AutoencoderKlTest : public ::testing::Test {
 protected:
  std::vector<uint8_t> Decode(const testing::TinyDitModel& model, int size, bool poison) {
    const testing::TempFolder folder;
    model.Write(folder);
    absl::StatusOr<ModelFolder> opened = ModelFolder::Open(folder.path());
    const absl::StatusOr<Json> json = opened->ReadJson("vae/config.json");
    const absl::StatusOr<AutoencoderKlConfig> config = Read(*json);
    EXPECT_TRUE(config.ok()) << config.status();
    absl::StatusOr<Weights> weights = Weights::Open(*opened, "vae");
    AutoencoderKlDecoder decoder(*config, *weights);
    weights->Ignore({"encoder.", "quant_conv."});
    EXPECT_TRUE(weights->Check().ok()) << weights->Check();
    testing::ReferenceOps ops(poison);
    const std::unique_ptr<Stream> stream = ops.CreateStream();
    EXPECT_TRUE(decoder.Load(ops, *stream).ok());

    std::vector<float> latents(static_cast<size_t>(config->latent_channels * size * size));
    for (size_t i = 0; i < latents.size(); ++i) latents[i] = std::sin(static_cast<float>(i));
    const int pixels_wide = size * config->factor();
    std::vector<uint8_t> pixels(static_cast<size_t>(pixels_wide * pixels_wide * 3));
    const LatentView view = {.data = latents.data(),
                             .channels = config->latent_channels,
                             .height = size,
                             .width = size,
                             .pad = 0};
    EXPECT_TRUE(decoder.Decode(view, pixels.data(), *stream).ok());
    // A second, smaller picture needs no more memory.
    const int allocations = ops.allocations();
    LatentView smaller = view;
    smaller.height = smaller.width = size / 2;
    std::vector<uint8_t> fewer(pixels.size());
    EXPECT_TRUE(decoder.Decode(smaller, fewer.data(), *stream).ok());
    EXPECT_EQ(ops.allocations(), allocations);
    return pixels;
  }
};

TEST_F(AutoencoderKlTest, ReadsNothingThatNobodyWrote) {
  const testing::TinyDitModel model = testing::TinyDitModel().Build();
  const std::vector<uint8_t> pixels = Decode(model, 8, false);
  EXPECT_EQ(Decode(model, 8, true), pixels);
  EXPECT_GT(std::set<uint8_t>(pixels.begin(), pixels.end()).size(), 20u);
}

TEST_F(AutoencoderKlTest, OldAttentionNames) {
  testing::TinyDitModel model = testing::TinyDitModel().Build();
  const std::vector<uint8_t> pixels = Decode(model, 8, false);
  const std::string attention = "decoder.mid_block.attentions.0.";
  const std::pair<const char*, const char*> names[] = {
      {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
  for (const auto& [now, old] : names) {
    for (const char* part : {".weight", ".bias"}) {
      auto node = model.vae.extract(attention + now + part);
      ASSERT_FALSE(node.empty());
      node.key() = attention + old + part;
      model.vae.insert(std::move(node));
    }
  }
  EXPECT_EQ(Decode(model, 8, false), pixels);
}

TEST_F(AutoencoderKlTest, ShiftAndScaleActOnTheLatents) {
  // Latents x with scale 0.5 and shift s decode as latents x + 0.5 s without shift: both are
  // 2x + s. Checked through a post_quant_conv whose bias does the shifting.
  testing::TinyDitModel shifted = testing::TinyDitModel().Build();
  shifted.vae_config["shift_factor"] = 0.25;
  testing::TinyDitModel biased = testing::TinyDitModel().Build();
  const auto& weight = biased.vae.at("post_quant_conv.weight").second;
  auto& bias = biased.vae.at("post_quant_conv.bias").second;
  for (size_t row = 0; row < 4; ++row) {
    for (size_t column = 0; column < 4; ++column) bias[row] += 0.25f * weight[row * 4 + column];
  }
  const std::vector<uint8_t> a = Decode(shifted, 8, false);
  const std::vector<uint8_t> b = Decode(biased, 8, false);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1) << i;

  // The same without a post_quant_conv: an identity one must be equal to none.
  testing::TinyDitModel none = testing::TinyDitModel().Build();
  none.vae_config["shift_factor"] = 0.25;
  testing::TinyDitModel identity = none;
  none.vae_config["use_post_quant_conv"] = false;
  none.vae.erase("post_quant_conv.weight");
  none.vae.erase("post_quant_conv.bias");
  for (size_t i = 0; i < 16; ++i) {
    identity.vae.at("post_quant_conv.weight").second[i] = i % 5 == 0 ? 1.0f : 0.0f;
  }
  std::fill_n(identity.vae.at("post_quant_conv.bias").second.begin(), 4, 0.0f);
  EXPECT_EQ(Decode(none, 8, false), Decode(identity, 8, false));
}

TEST_F(AutoencoderKlTest, EveryShapeOfDecoder) {
  for (const bool attention : {false, true}) {
    for (const std::vector<int64_t>& channels :
         {std::vector<int64_t>{8}, std::vector<int64_t>{4, 8, 4}, std::vector<int64_t>{16, 4}}) {
      testing::TinyDitModel model;
      model.mid_attention = attention;
      model.vae_channels = channels;
      const std::vector<uint8_t> pixels = Decode(model.Build(), 4, true);
      EXPECT_GT(std::set<uint8_t>(pixels.begin(), pixels.end()).size(), 5u);
    }
  }
}

}  // namespace
}  // namespace darkroom
