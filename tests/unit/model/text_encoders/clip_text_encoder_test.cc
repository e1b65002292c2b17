#include "model/text_encoders/clip_text_encoder.h"

#include <memory>

#include "base/error.h"
#include "device/cpu/cpu_ops.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/load_parts.h"
#include "testing/tiny_text_encoders.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Numbers are compared with transformers' in tests/golden.

absl::StatusOr<ClipTextConfig> Read(const Json& json) {
  ConfigReader reader(json, "text_encoder/config.json");
  return ReadClipTextConfig(reader);
}

TEST(ClipTextConfigTest, ReadsThePublishedOneOfFlux) {
  const Json json = Json::parse(R"({"_name_or_path": "openai/clip-vit-large-patch14",
      "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0,
      "dropout": 0.0, "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 768,
      "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072,
      "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "model_type": "clip_text_model",
      "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1,
      "projection_dim": 768, "torch_dtype": "bfloat16", "transformers_version": "4.43.3",
      "vocab_size": 49408})");
  const absl::StatusOr<ClipTextConfig> config = Read(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->width, 768);
  EXPECT_EQ(config->head_dim(), 64);
  EXPECT_EQ(config->layers, 12);
  EXPECT_EQ(config->activation, Activation::kQuickGelu);
  EXPECT_EQ(config->end_id, 2);
}

TEST(ClipTextConfigTest, RefusesByName) {
  const std::pair<const char*, Json> changes[] = {
      {"model_type", "clip"},
      {"hidden_size", 25},
      {"hidden_size", 0},
      {"num_attention_heads", 0},
      {"num_hidden_layers", 100000},
      {"intermediate_size", -1},
      {"vocab_size", "50"},
      {"max_position_embeddings", 0},
      {"hidden_act", "swish"},
      {"layer_norm_eps", 0},
      {"eos_token_id", -1},
      {"rope_theta", 10000},
      {"text_config", Json::object()},
  };
  for (const auto& [field, value] : changes) {
    Json json = testing::TinyClipTextEncoder().config;
    json[field] = value;
    const absl::Status status = Read(json).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << field;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("text_encoder/config.json"), HasSubstr(field)));
  }
}

class ClipTextEncoderTest : public ::testing::Test {
 protected:
  ClipTextEncoderTest() : ops_(CreateCpuOps(1)), stream_(ops_->CreateStream()) {
    folder_.Write("model_index.json", R"({"_class_name": "FluxPipeline"})");
  }

  // The encoder's result, or why it cannot be loaded.
  absl::StatusOr<TextEmbedding> Encode(const testing::TinyTextEncoder& model,
                                       const std::vector<int32_t>& ids) {
    model.Write(folder_, "text_encoder");
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    auto config = ReadConfig(*folder, "text_encoder/config.json", &ReadClipTextConfig);
    if (!config.ok()) return config.status();
    auto weights = Weights::Open(*folder, "text_encoder", kTransformersWeights);
    if (!weights.ok()) return weights.status();
    ClipTextEncoder encoder(*config, *weights);
    if (absl::Status status = weights->Check(); !status.ok()) return status;
    if (absl::Status status = encoder.Load(DType::kF32, *ops_, *stream_); !status.ok()) {
      return status;
    }
    auto embeddings = encoder.Encode({ids}, *stream_);
    if (!embeddings.ok()) return embeddings.status();
    return embeddings->front();
  }
  static std::vector<float> Row(const TextEmbedding& embedding, int64_t row) {
    const auto begin = embedding.hidden.begin() + row * 24;
    return {begin, begin + 24};
  }

  testing::TempFolder folder_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(ClipTextEncoderTest, PoolsTheFirstEnd) {
  const auto embedding = Encode(testing::TinyClipTextEncoder(), {3, 1, 49, 49, 4});
  ASSERT_TRUE(embedding.ok()) << embedding.status();
  EXPECT_EQ(embedding->pooled, Row(*embedding, 2));
}

TEST_F(ClipTextEncoderTest, PoolsTheFirstTokenWithoutAnEnd) {
  const auto embedding = Encode(testing::TinyClipTextEncoder(), {3, 1, 48});
  ASSERT_TRUE(embedding.ok()) << embedding.status();
  EXPECT_EQ(embedding->pooled, Row(*embedding, 0));
}

TEST_F(ClipTextEncoderTest, ConfigurationsOfOldPoolTheLargestId) {
  testing::TinyTextEncoder model = testing::TinyClipTextEncoder();
  model.config["eos_token_id"] = 2;
  const auto embedding = Encode(model, {2, 1, 30, 48, 48, 2});
  ASSERT_TRUE(embedding.ok()) << embedding.status();
  EXPECT_EQ(embedding->pooled, Row(*embedding, 3));
}

TEST_F(ClipTextEncoderTest, LaterTokensDoNotChangeEarlierOnes) {
  const auto before = Encode(testing::TinyClipTextEncoder(), {3, 1, 7, 9, 49});
  const auto after = Encode(testing::TinyClipTextEncoder(), {3, 1, 7, 20, 21, 22, 49});
  ASSERT_TRUE(before.ok() && after.ok());
  for (int64_t row = 0; row < 3; ++row) EXPECT_EQ(Row(*before, row), Row(*after, row)) << row;
  EXPECT_NE(Row(*before, 3), Row(*after, 3));
}

TEST_F(ClipTextEncoderTest, NamesWithAndWithoutPrefixAreTheSameModel) {
  testing::TinyTextEncoder model = testing::TinyClipTextEncoder();
  const auto before = Encode(model, {3, 1, 49});
  testing::TensorMap renamed;
  for (auto& [name, tensor] : model.tensors) {
    renamed[name.substr(std::string("text_model.").size())] = std::move(tensor);
  }
  model.tensors = std::move(renamed);
  const auto after = Encode(model, {3, 1, 49});
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(before->hidden, after->hidden);
}

TEST_F(ClipTextEncoderTest, ListsWhatTheFileLacks) {
  testing::TinyTextEncoder model = testing::TinyClipTextEncoder();
  model.tensors.erase("text_model.final_layer_norm.bias");
  model.tensors["text_model.encoder.layers.1.mlp.fc1.weight"] = {{2, 2}, {0, 0, 0, 0}};
  model.tensors["text_projection.weight"] = {{1}, {0}};
  const absl::Status status = Encode(model, {1}).status();
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("final_layer_norm.bias"), HasSubstr("layers.1.mlp.fc1.weight"),
                    HasSubstr("text_projection.weight")));
}

TEST_F(ClipTextEncoderTest, SaysWhichFileItLooksFor) {
  testing::TinyTextEncoder model = testing::TinyClipTextEncoder();
  folder_.Write("text_encoder/config.json", model.config.dump());
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
  const absl::Status status = Weights::Open(*folder, "text_encoder", kTransformersWeights).status();
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
  EXPECT_THAT(std::string(status.message()), HasSubstr("text_encoder/model.safetensors"));
}

}  // namespace
}  // namespace darkroom
