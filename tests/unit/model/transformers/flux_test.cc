#include "model/transformers/flux.h"

#include <cmath>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Numbers are compared with diffusers' in tests/golden, packing is tested with the denoiser.

absl::StatusOr<FluxConfig> Read(const Json& json) {
  ConfigReader reader(json, "transformer/config.json");
  return ReadFluxConfig(reader);
}

Json Published() {
  // black-forest-labs/FLUX.1-dev.
  return Json::parse(R"({"_class_name": "FluxTransformer2DModel",
      "_diffusers_version": "0.30.0.dev0", "attention_head_dim": 128, "guidance_embeds": true,
      "in_channels": 64, "joint_attention_dim": 4096, "num_attention_heads": 24,
      "num_layers": 19, "num_single_layers": 38, "patch_size": 1,
      "pooled_projection_dim": 768})");
}

TEST(FluxConfigTest, ReadsThePublishedOne) {
  const absl::StatusOr<FluxConfig> config = Read(Published());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->dim(), 3072);
  EXPECT_EQ(config->latent_channels(), 16);
  EXPECT_EQ(config->out_channels, 64);
  EXPECT_TRUE(config->guidance_embeds);
  EXPECT_THAT(config->axes_dims_rope, ElementsAre(16, 56, 56));
}

TEST(FluxConfigTest, RefusesByName) {
  const std::pair<const char*, Json> changes[] = {
      {"num_layers", -1},
      {"num_layers", 1e9},
      {"num_single_layers", "38"},
      {"num_attention_heads", 0},
      {"in_channels", 63},
      {"out_channels", 32},
      {"patch_size", 2},
      {"joint_attention_dim", 0},
      {"pooled_projection_dim", -768},
      {"guidance_embeds", 1},
      {"axes_dims_rope", {16, 56}},
      {"axes_dims_rope", {16, 56, 57}},
      {"axes_dims_rope", {15, 57, 56}},
      {"axes_dims_rope", {16, 56, 40}},
      {"rope_theta", 10000},
  };
  for (const auto& [field, value] : changes) {
    Json json = Published();
    json[field] = value;
    const absl::Status status = Read(json).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << field << value;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("transformer/config.json"), HasSubstr(field)));
  }
}

TEST(FluxConfigTest, ModelsOfControlInputsAreRefusedByName) {
  Json json = Published();  // FLUX.1 Fill
  json["in_channels"] = 384;
  json["out_channels"] = 64;
  EXPECT_THAT(std::string(Read(json).status().message()), HasSubstr("control inputs"));
}

TEST(FluxRotationTest, TurnsByRowAndColumn) {
  FluxConfig config;
  config.head_dim = 8;
  config.axes_dims_rope = {2, 4, 2};
  float cosines[4];
  float sines[4];
  FluxRotation(config, 3, 5, cosines, sines);
  // The first axis is always 0; the second is the row with two frequencies, the third the column.
  const double angles[] = {0, 3, 3 * std::pow(10000.0, -0.5), 5};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(cosines[i], std::cos(angles[i]), 1e-7) << i;
    EXPECT_NEAR(sines[i], std::sin(angles[i]), 1e-7) << i;
  }
  FluxRotation(config, 0, 0, cosines, sines);
  EXPECT_THAT(cosines, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(sines, ElementsAre(0, 0, 0, 0));
}

}  // namespace
}  // namespace darkroom
