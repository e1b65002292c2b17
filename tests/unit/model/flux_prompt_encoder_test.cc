#include "model/flux_prompt_encoder.h"

#include <algorithm>
#include <memory>
#include <string>

#include "base/error.h"
#include "device/cpu/cpu_ops.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/flux_fixture.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Numbers are compared with diffusers' in tests/golden.
class FluxPromptEncoderTest : public ::testing::Test {
 protected:
  FluxPromptEncoderTest() : ops_(CreateCpuOps(2)), stream_(ops_->CreateStream()) {}

  absl::StatusOr<std::unique_ptr<FluxPromptEncoder>> Open() {
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(model_.path());
    if (!folder.ok()) return folder.status();
    return FluxPromptEncoder::Open(*folder);
  }
  std::string OpenProblem() {
    const absl::Status status = Open().status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  }
  void Load() {
    auto opened = Open();
    ASSERT_TRUE(opened.ok()) << opened.status();
    encoder_ = *std::move(opened);
    ASSERT_TRUE(encoder_->clip_weights().Check().ok()) << encoder_->clip_weights().Check();
    ASSERT_TRUE(encoder_->t5_weights().Check().ok()) << encoder_->t5_weights().Check();
    ASSERT_TRUE(encoder_->Load(DType::kF32, *ops_, *stream_).ok());
  }
  std::shared_ptr<const PromptEmbedding> Encode(uint64_t tenant_tag, const std::string& prompt,
                                                int tokens = 32) {
    auto embedding = encoder_->Encode(tenant_tag, prompt, tokens, *stream_);
    EXPECT_TRUE(embedding.ok()) << embedding.status();
    return embedding.ok() ? *embedding : std::make_shared<const PromptEmbedding>();
  }
  static std::string Repeat(const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
  }

  testing::FluxFixture model_{"dev"};
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<FluxPromptEncoder> encoder_;
};

TEST_F(FluxPromptEncoderTest, ShapesAreThoseOfTheEncoders) {
  Load();
  EXPECT_EQ(encoder_->hidden_width(), 24);
  EXPECT_EQ(encoder_->pooled_width(), 16);
  EXPECT_EQ(encoder_->tokens_max(), 512);
  for (const std::string prompt : {"a red apple", "", " "}) {
    const auto embedding = Encode(1, prompt, 9);
    EXPECT_EQ(embedding->tokens, 9);
    EXPECT_EQ(embedding->hidden.size(), 9u * 24);
    EXPECT_EQ(embedding->pooled.size(), 16u);
  }
  EXPECT_EQ(Encode(1, "", 1)->hidden.size(), 24u);
  EXPECT_EQ(Encode(1, "a red apple", 512)->hidden.size(), 512u * 24);
}

TEST_F(FluxPromptEncoderTest, TheSamePromptOfTheSameTenantIsEncodedOnce) {
  Load();
  const auto first = Encode(1, "a red apple");
  EXPECT_EQ(Encode(1, "a red apple"), first);
  EXPECT_EQ(encoder_->cache().hits(), 1);
  EXPECT_NE(Encode(1, "a red apple", 33), first);
  EXPECT_NE(Encode(1, "a green apple")->hidden, first->hidden);
  EXPECT_EQ(encoder_->cache().hits(), 1);
}

TEST_F(FluxPromptEncoderTest, AnotherTenantsPromptIsEncodedAnewToTheSameBits) {
  Load();
  const auto first = Encode(1, "a red apple");
  const auto second = Encode(2, "a red apple");
  EXPECT_NE(first, second);
  EXPECT_EQ(first->hidden, second->hidden);
  EXPECT_EQ(first->pooled, second->pooled);
  EXPECT_EQ(encoder_->cache().hits(), 0);
}

TEST_F(FluxPromptEncoderTest, TooLongForT5IsRefusedWithCounts) {
  Load();
  const std::string prompt = Repeat("apple ", 200);
  const absl::Status status = encoder_->Encode(1, prompt, 32, *stream_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "PROMPT_TOO_LONG");
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("tokens"), HasSubstr("at most 32")));
  EXPECT_EQ(encoder_->cache().size(), 0u);
  const absl::Status bytes = encoder_->Encode(1, std::string(10'241, 'a'), 512, *stream_).status();
  EXPECT_EQ(ErrorReason(bytes), "PROMPT_TOO_LONG");
  EXPECT_THAT(std::string(bytes.message()), HasSubstr("10240"));
}

TEST_F(FluxPromptEncoderTest, WhatIsTooLongForClipIsCutForItAlone) {
  Load();
  const std::string prompt = Repeat("1 ", 100);
  const auto some = Encode(1, prompt + "2 3", 512);
  const auto others = Encode(1, prompt + "4 5", 512);
  EXPECT_EQ(some->pooled, others->pooled);
  EXPECT_NE(some->hidden, others->hidden);
  EXPECT_NE(Encode(1, "2 3", 512)->pooled, Encode(1, "4 5", 512)->pooled);
}

TEST_F(FluxPromptEncoderTest, RefusesLengthsOutOfRange) {
  Load();
  for (const int tokens : {-1, 0, 513, 1 << 30}) {
    const absl::Status status = encoder_->Encode(1, "a", tokens, *stream_).status();
    EXPECT_EQ(ErrorReason(status), "SEQUENCE_LENGTH_OUT_OF_RANGE") << tokens;
    EXPECT_THAT(std::string(status.message()), HasSubstr("1 to 512"));
  }
}

TEST_F(FluxPromptEncoderTest, TheTokenizerMayAllowFewer) {
  model_.Edit("tokenizer_2/tokenizer_config.json",
              [](nlohmann::json& json) { json["model_max_length"] = 40; });
  Load();
  EXPECT_EQ(encoder_->tokens_max(), 40);
}

TEST_F(FluxPromptEncoderTest, AnyBytesAreAPrompt) {
  Load();
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  EXPECT_EQ(Encode(1, bytes, 512)->tokens, 512);
}

TEST_F(FluxPromptEncoderTest, NamesMissingTokenizerFiles) {
  model_.Remove("tokenizer/merges.txt");
  EXPECT_THAT(OpenProblem(), AllOf(HasSubstr("tokenizer"), HasSubstr("merges.txt")));
  model_.Remove("tokenizer");
  EXPECT_THAT(OpenProblem(), HasSubstr("tokenizer"));
  model_.CopyFrom("dev", "tokenizer");
  model_.Remove("tokenizer_2/spiece.model");
  EXPECT_THAT(OpenProblem(), AllOf(HasSubstr("tokenizer_2"), HasSubstr("spiece.model")));
}

TEST_F(FluxPromptEncoderTest, NamesMissingWeightsAndConfigurations) {
  for (const std::string component : {"text_encoder", "text_encoder_2"}) {
    model_.Remove(component + "/model.safetensors");
    EXPECT_THAT(OpenProblem(), HasSubstr(component + "/model.safetensors"));
    model_.CopyFrom("dev", component);
    model_.Edit(component + "/config.json", [](nlohmann::json& json) { json["new_field"] = 1; });
    EXPECT_THAT(OpenProblem(),
                AllOf(HasSubstr(component + "/config.json"), HasSubstr("new_field")));
    model_.CopyFrom("dev", component);
  }
}

TEST_F(FluxPromptEncoderTest, RefusesTokensThatTheEncoderDoesNotHave) {
  for (const std::string component : {"text_encoder", "text_encoder_2"}) {
    model_.Edit(component + "/config.json", [](nlohmann::json& json) { json["vocab_size"] = 300; });
    EXPECT_THAT(OpenProblem(), AllOf(HasSubstr(component + "/config.json"),
                                     HasSubstr("vocab_size is 300"), HasSubstr("tokenizer")));
    model_.CopyFrom("dev", component);
  }
}

TEST_F(FluxPromptEncoderTest, RefusesAClipOfOneToken) {
  model_.Edit("text_encoder/config.json",
              [](nlohmann::json& json) { json["max_position_embeddings"] = 1; });
  EXPECT_THAT(OpenProblem(), HasSubstr("max_position_embeddings"));
}

}  // namespace
}  // namespace darkroom
