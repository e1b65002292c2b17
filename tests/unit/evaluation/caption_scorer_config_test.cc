#include "evaluation/caption_scorer_config.h"

#include <functional>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<CaptionScorerConfig> Read(const std::function<void(Json&)>& change) {
  Json json = Json::parse(R"({
    "_class_name": "CaptionScorer", "image_size": 64, "in_channels": 3,
    "block_out_channels": [24, 48, 96, 128], "layers_per_block": 1, "norm_num_groups": 8,
    "projection_dim": 128,
    "text_config": {"model_type": "clip_text_model", "vocab_size": 900, "hidden_size": 96,
                    "intermediate_size": 384, "num_hidden_layers": 2, "num_attention_heads": 4,
                    "max_position_embeddings": 32, "hidden_act": "quick_gelu",
                    "eos_token_id": 5}})");
  change(json);
  ConfigReader reader(json, "config.json");
  return ReadCaptionScorerConfig(reader);
}

TEST(CaptionScorerConfigTest, ReadsWhatChangesTheResult) {
  const auto config = Read([](Json&) {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->image_size, 64);
  EXPECT_THAT(config->block_channels, ElementsAre(24, 48, 96, 128));
  EXPECT_EQ(config->factor(), 8);
  EXPECT_EQ(config->projection_dim, 128);
  EXPECT_EQ(config->text.width, 96);
  EXPECT_EQ(config->text.tokens_max, 32);
  EXPECT_EQ(config->text.end_id, 5);
}

TEST(CaptionScorerConfigTest, RefusesWhatItDoesNotKnowByName) {
  const std::pair<std::function<void(Json&)>, const char*> cases[] = {
      {[](Json& json) { json["_class_name"] = "AutoencoderKL"; }, "_class_name"},
      {[](Json& json) { json["image_size"] = 60; }, "must be a multiple of 8"},
      {[](Json& json) { json["image_size"] = 1024; }, "1 to 512"},
      {[](Json& json) { json.erase("image_size"); }, "image_size is missing"},
      {[](Json& json) { json["in_channels"] = 4; }, "in_channels"},
      {[](Json& json) { json["norm_num_groups"] = 7; }, "does not divide"},
      {[](Json& json) { json["projection_dim"] = 0; }, "1 to 8192"},
      {[](Json& json) { json["dropout_of_mine"] = 1; }, "dropout_of_mine is not a known field"},
      {[](Json& json) { json.erase("text_config"); }, "text_config is missing"},
      {[](Json& json) { json["text_config"] = 3; }, "text_config must be an object"},
      {[](Json& json) { json["text_config"]["rope_theta"] = 1e4; }, "rope_theta"},
      {[](Json& json) { json["text_config"]["hidden_act"] = "relu6"; }, "text_config): hidden_act"},
  };
  for (const auto& [change, problem] : cases) {
    const absl::Status status = Read(change).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << problem;
    EXPECT_THAT(std::string(status.message()), HasSubstr(problem));
  }
}

}  // namespace
}  // namespace darkroom
