#include "model/text_encoders/t5_encoder.h"

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

absl::StatusOr<T5Config> Read(const Json& json) {
  ConfigReader reader(json, "text_encoder_2/config.json");
  return ReadT5Config(reader);
}

TEST(T5ConfigTest, ReadsThePublishedOneOfFlux) {
  const Json json = Json::parse(R"({"_name_or_path": "google/t5-v1_1-xxl",
      "architectures": ["T5EncoderModel"], "classifier_dropout": 0.0, "d_ff": 10240, "d_kv": 64,
      "d_model": 4096, "decoder_start_token_id": 0, "dense_act_fn": "gelu_new",
      "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
      "initializer_factor": 1.0, "is_encoder_decoder": true, "is_gated_act": true,
      "layer_norm_epsilon": 1e-06, "model_type": "t5", "num_decoder_layers": 24,
      "num_heads": 64, "num_layers": 24, "output_past": true, "pad_token_id": 0,
      "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
      "tie_word_embeddings": false, "torch_dtype": "bfloat16",
      "transformers_version": "4.43.3", "use_cache": true, "vocab_size": 32128})");
  const absl::StatusOr<T5Config> config = Read(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->width, 4096);
  EXPECT_EQ(config->attention_width(), 4096);
  EXPECT_EQ(config->feed_forward, 10'240);
  EXPECT_EQ(config->activation, Activation::kGeluTanh);
  EXPECT_TRUE(config->gated);
}

TEST(T5ConfigTest, FeedForwards) {
  const std::tuple<const char*, Activation, bool> kinds[] = {
      {"relu", Activation::kRelu, false}, {"gated-relu", Activation::kRelu, true},
      {"gelu", Activation::kGelu, false}, {"gated-gelu", Activation::kGeluTanh, true},
      {"silu", Activation::kSilu, false}, {"gated-silu", Activation::kSilu, true}};
  for (const auto& [kind, activation, gated] : kinds) {
    Json json = testing::TinyT5Encoder().config;
    json["feed_forward_proj"] = kind;
    const absl::StatusOr<T5Config> config = Read(json);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->activation, activation) << kind;
    EXPECT_EQ(config->gated, gated) << kind;
  }
}

TEST(T5ConfigTest, RefusesByName) {
  const std::pair<const char*, Json> changes[] = {
      {"model_type", "umt5"},
      {"d_model", 0},
      {"d_kv", 4096},
      {"d_ff", 1e9},
      {"num_heads", -1},
      {"num_layers", 0},
      {"vocab_size", 1 << 30},
      {"feed_forward_proj", "gated-swish"},
      {"layer_norm_epsilon", 0},
      {"relative_attention_num_buckets", 30},
      {"relative_attention_max_distance", 8},
      {"rope_theta", 10000},
  };
  for (const auto& [field, value] : changes) {
    Json json = testing::TinyT5Encoder().config;
    json[field] = value;
    const absl::Status status = Read(json).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << field;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("text_encoder_2/config.json"), HasSubstr(field)));
  }
}

// Where transformers' buckets begin. Those at exact powers (16, 32, 64) would differ by one with
// logarithms of other precision.
TEST(T5PositionBucketTest, BeginWhereTransformersBegin) {
  struct Buckets {
    int count;
    int distance_max;
    std::vector<int> begins;
  };
  const Buckets all[] = {
      {32, 128, {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91}},
      {8, 20, {0, 1, 2, 7}},
      {16, 64, {0, 1, 2, 3, 4, 8, 16, 32}},
  };
  for (const Buckets& buckets : all) {
    int bucket = -1;
    for (int distance = 0; distance <= 600; ++distance) {
      const auto next = static_cast<size_t>(bucket + 1);
      if (next < buckets.begins.size() && buckets.begins[next] == distance) ++bucket;
      const auto of = [&](int64_t away) {
        return T5PositionBucket(away, buckets.count, buckets.distance_max);
      };
      EXPECT_EQ(of(-distance), bucket) << distance;
      EXPECT_EQ(of(distance), distance == 0 ? 0 : bucket + buckets.count / 2) << distance;
    }
  }
}

class T5EncoderTest : public ::testing::Test {
 protected:
  T5EncoderTest() : ops_(CreateCpuOps(1)), stream_(ops_->CreateStream()) {
    folder_.Write("model_index.json", R"({"_class_name": "FluxPipeline"})");
  }

  // The hidden states of a few tokens, or why the encoder cannot be loaded.
  absl::StatusOr<std::vector<float>> Encode(const testing::TinyTextEncoder& model) {
    model.Write(folder_, "text_encoder_2");
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    auto config = ReadConfig(*folder, "text_encoder_2/config.json", &ReadT5Config);
    if (!config.ok()) return config.status();
    auto weights = Weights::Open(*folder, "text_encoder_2", kTransformersWeights);
    if (!weights.ok()) return weights.status();
    T5Encoder encoder(*config, *weights);
    if (absl::Status status = weights->Check(); !status.ok()) return status;
    if (absl::Status status = encoder.Load(DType::kF32, *ops_, *stream_); !status.ok()) {
      return status;
    }
    auto embeddings = encoder.Encode({{3, 1, 4, 1, 5, 39}}, *stream_);
    if (!embeddings.ok()) return embeddings.status();
    EXPECT_TRUE(embeddings->front().pooled.empty());
    return embeddings->front().hidden;
  }

  testing::TempFolder folder_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(T5EncoderTest, AnyNameOfTheSharedTable) {
  testing::TinyTextEncoder model = testing::TinyT5Encoder();
  const auto shared = Encode(model);
  ASSERT_TRUE(shared.ok()) << shared.status();
  model.tensors["encoder.embed_tokens.weight"] = model.tensors["shared.weight"];
  const auto both = Encode(model);
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(*both, *shared);
  model.tensors.erase("shared.weight");
  const auto other = Encode(model);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(*other, *shared);
}

TEST_F(T5EncoderTest, WholeModelsServeAsEncoders) {
  testing::TinyTextEncoder model = testing::TinyT5Encoder();
  model.tensors["decoder.final_layer_norm.weight"] = {{1}, {1}};
  model.tensors["lm_head.weight"] = {{1}, {1}};
  EXPECT_TRUE(Encode(model).ok()) << Encode(model).status();
}

TEST_F(T5EncoderTest, OrderAndDistanceOfTokensMatter) {
  testing::TinyTextEncoder model = testing::TinyT5Encoder();
  const auto before = Encode(model);
  auto& bias =
      model.tensors["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].second;
  bias[0 * 2 + 1] += 1.0f;  // one head's bias of a token to itself
  const auto after = Encode(model);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_NE(*before, *after);
}

TEST_F(T5EncoderTest, ListsWhatTheFileLacks) {
  testing::TinyTextEncoder model = testing::TinyT5Encoder();
  model.tensors.erase("shared.weight");
  model.tensors.erase("encoder.block.1.layer.1.DenseReluDense.wi_1.weight");
  model.tensors["encoder.block.2.layer_norm.weight"] = {{1}, {0}};
  const absl::Status status = Encode(model).status();
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("shared.weight"), HasSubstr("DenseReluDense.wi_1.weight"),
                    HasSubstr("encoder.block.2.layer_norm.weight")));
}

}  // namespace
}  // namespace darkroom
