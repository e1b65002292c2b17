#include "model/transformers/dit.h"

#include <cmath>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

// Numbers are compared with diffusers' in tests/golden.

Json TinyConfig() { return Json::parse(testing::TinyDitModel().Build().transformer_config.dump()); }

absl::StatusOr<DitConfig> Read(const Json& json) {
  ConfigReader reader(json, "transformer/config.json");
  return ReadDitConfig(reader);
}

TEST(DitConfigTest, ReadsWhatDiffusersWrites) {
  const absl::StatusOr<DitConfig> config = Read(TinyConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->dim(), 16);
  EXPECT_EQ(config->layers, 2);
  EXPECT_EQ(config->out_channels, 8);
  EXPECT_EQ(config->null_class(), 5);
}

TEST(DitConfigTest, ReadsTheConfigurationOfItsOldClass) {
  // facebook/DiT-XL-2-256 as it is published.
  const Json json = Json::parse(R"({"_class_name": "Transformer2DModel",
      "_diffusers_version": "0.12.0.dev0", "activation_fn": "gelu-approximate",
      "attention_bias": true, "attention_head_dim": 72, "cross_attention_dim": null,
      "dropout": 0.0, "in_channels": 4, "norm_elementwise_affine": false, "norm_num_groups": 32,
      "norm_type": "ada_norm_zero", "num_attention_heads": 16, "num_embeds_ada_norm": 1000,
      "num_layers": 28, "num_vector_embeds": null, "only_cross_attention": false,
      "out_channels": 8, "patch_size": 2, "sample_size": 32, "upcast_attention": false,
      "use_linear_projection": false})");
  const absl::StatusOr<DitConfig> config = Read(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->dim(), 1152);
  EXPECT_EQ(config->sample_size, 32);
}

TEST(DitConfigTest, RefusesByName) {
  const std::pair<const char*, Json> changes[] = {
      {"num_layers", 0},
      {"num_layers", 1e9},
      {"num_attention_heads", -1},
      {"attention_head_dim", "8"},
      {"patch_size", 3},
      {"sample_size", 7},
      {"out_channels", 5},
      {"in_channels", 0},
      {"activation_fn", "geglu"},
      {"norm_type", "ada_norm_single"},
      {"norm_eps", 0},
      {"norm_elementwise_affine", true},
      {"cross_attention_dim", 64},
      {"double_self_attention", true},
      {"rope_theta", 10000},
      {"num_embeds_ada_norm", 200000},
  };
  for (const auto& [field, value] : changes) {
    Json json = TinyConfig();
    json[field] = value;
    const absl::Status status = Read(json).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << field;
    // A bad patch size shows in the size that it must divide.
    const std::string named = std::string(field) == "patch_size" ? "sample_size" : field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(named)) << field;
  }
}

TEST(DitConfigTest, WidthMustCarryThePositionEmbedding) {
  Json json = TinyConfig();
  json["num_attention_heads"] = 3;
  json["attention_head_dim"] = 5;
  EXPECT_THAT(std::string(Read(json).status().message()), HasSubstr("multiple of 4"));
}

TEST(DitPositionsTest, ColumnsFirstThenRows) {
  const DitConfig config = {.heads = 1, .head_dim = 8, .patch = 2, .sample_size = 8};
  const std::vector<float> positions = DitPositions(config, 4, 4);
  ASSERT_EQ(positions.size(), 16u * 8);
  // Row 2, column 3: sines, cosines of the column at frequencies 1 and 1/100, then of the row.
  const float* token = positions.data() + (2 * 4 + 3) * 8;
  const float expected[] = {std::sin(3.0f), std::sin(0.03f), std::cos(3.0f), std::cos(0.03f),
                            std::sin(2.0f), std::sin(0.02f), std::cos(2.0f), std::cos(0.02f)};
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(token[i], expected[i], 1e-6) << i;
}

TEST(DitPositionsTest, OtherSizesAreStretchedOverTheTrainedOne) {
  const DitConfig config = {.heads = 1, .head_dim = 8, .patch = 2, .sample_size = 8};
  const std::vector<float> native = DitPositions(config, 4, 4);
  const std::vector<float> twice = DitPositions(config, 8, 8);
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 4; ++column) {
      for (int i = 0; i < 8; ++i) {
        EXPECT_EQ(twice[static_cast<size_t>((2 * row * 8 + 2 * column) * 8 + i)],
                  native[static_cast<size_t>((row * 4 + column) * 8 + i)]);
      }
    }
  }
}

}  // namespace
}  // namespace darkroom
