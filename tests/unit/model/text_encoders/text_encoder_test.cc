#include "model/text_encoders/text_encoder.h"

#include <cstring>
#include <memory>
#include <random>

#include "base/error.h"
#include "device/cpu/cpu_ops.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/limits.h"
#include "model/load_parts.h"
#include "model/text_encoders/clip_text_encoder.h"
#include "model/text_encoders/t5_encoder.h"
#include "testing/tiny_text_encoders.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Both encoders, which differ in masks, position biases and what they pool.
class TextEncoderTest : public ::testing::TestWithParam<const char*> {
 protected:
  TextEncoderTest() : ops_(CreateCpuOps(2)), stream_(ops_->CreateStream()) {
    folder_.Write("model_index.json", R"({"_class_name": "FluxPipeline"})");
    testing::TinyClipTextEncoder().Write(folder_, "clip");
    testing::TinyT5Encoder().Write(folder_, "t5");
  }

  void Load(DType compute) {
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    ASSERT_TRUE(folder.ok()) << folder.status();
    const std::string component = GetParam();
    auto weights = Weights::Open(*folder, component, kTransformersWeights);
    ASSERT_TRUE(weights.ok()) << weights.status();
    weights_ = std::make_unique<Weights>(*std::move(weights));
    absl::Status loaded;
    if (component == "clip") {
      auto clip = std::make_unique<ClipTextEncoder>(
          *ReadConfig(*folder, "clip/config.json", &ReadClipTextConfig), *weights_);
      loaded = clip->Load(compute, *ops_, *stream_);
      encoder_ = std::move(clip);
    } else {
      auto t5 = std::make_unique<T5Encoder>(*ReadConfig(*folder, "t5/config.json", &ReadT5Config),
                                            *weights_);
      loaded = t5->Load(compute, *ops_, *stream_);
      encoder_ = std::move(t5);
    }
    ASSERT_TRUE(weights_->Check().ok()) << weights_->Check();
    ASSERT_TRUE(loaded.ok()) << loaded;
  }

  std::vector<int32_t> Prompt(size_t length) {
    std::uniform_int_distribution<int32_t> ids(0, encoder_->vocabulary_size() - 1);
    std::vector<int32_t> prompt(length);
    for (int32_t& id : prompt) id = ids(random_);
    return prompt;
  }
  std::vector<TextEmbedding> Encode(const std::vector<std::vector<int32_t>>& prompts) {
    absl::StatusOr<std::vector<TextEmbedding>> embeddings = encoder_->Encode(prompts, *stream_);
    EXPECT_TRUE(embeddings.ok()) << embeddings.status();
    return embeddings.ok() ? *std::move(embeddings) : std::vector<TextEmbedding>(prompts.size());
  }
  absl::Status Problem(const std::vector<int32_t>& prompt) {
    return encoder_->Encode({prompt}, *stream_).status();
  }

  // Each alone, then all in one batch: equal bits.
  void ExpectSameBitsInBatches(DType compute) {
    Load(compute);
    std::vector<std::vector<int32_t>> prompts;
    for (const size_t length : {7u, 1u, 77u, 32u, 64u, 3u, 40u}) prompts.push_back(Prompt(length));
    const std::vector<TextEmbedding> together = Encode(prompts);
    for (size_t i = 0; i < prompts.size(); ++i) {
      const TextEmbedding alone = Encode({prompts[i]}).front();
      EXPECT_EQ(alone.hidden.size(), prompts[i].size() * 24);
      EXPECT_EQ(alone.hidden, together[i].hidden) << i;
      EXPECT_EQ(alone.pooled, together[i].pooled) << i;
      EXPECT_NE(alone.hidden, std::vector<float>(alone.hidden.size(), 0.0f)) << i;
    }
  }

  testing::TempFolder folder_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<TextEncoder> encoder_;
  std::mt19937 random_{5};
};

TEST_P(TextEncoderTest, BitsDoNotDependOnBatchMates) { ExpectSameBitsInBatches(DType::kF32); }

TEST_P(TextEncoderTest, BitsDoNotDependOnBatchMatesInBf16) {
  ExpectSameBitsInBatches(DType::kBf16);
}

TEST_P(TextEncoderTest, LoadingAgainReplaces) {
  Load(DType::kF32);
  const std::vector<int32_t> prompt = Prompt(20);
  const TextEmbedding before = Encode({prompt}).front();
  const absl::Status again =
      std::string(GetParam()) == "clip"
          ? static_cast<ClipTextEncoder&>(*encoder_).Load(DType::kF32, *ops_, *stream_)
          : static_cast<T5Encoder&>(*encoder_).Load(DType::kF32, *ops_, *stream_);
  ASSERT_TRUE(again.ok()) << again;
  const TextEmbedding after = Encode({prompt}).front();
  EXPECT_EQ(after.hidden, before.hidden);
  EXPECT_EQ(after.pooled, before.pooled);
}

TEST_P(TextEncoderTest, MorePromptsThanOneBatchHolds) {
  Load(DType::kF32);
  const auto count = static_cast<size_t>(model_limits::kTextRowsMax / 77 + 2);
  std::vector<std::vector<int32_t>> prompts(count, Prompt(77));
  prompts.back() = Prompt(5);
  const std::vector<TextEmbedding> embeddings = Encode(prompts);
  ASSERT_EQ(embeddings.size(), count);
  EXPECT_EQ(embeddings[count - 2].hidden, embeddings[0].hidden);
  EXPECT_EQ(embeddings.back().hidden, Encode({prompts.back()}).front().hidden);
  EXPECT_TRUE(Encode({}).empty());
}

TEST_P(TextEncoderTest, RefusesIdsAndLengthsOutOfRange) {
  Load(DType::kF32);
  const int32_t size = encoder_->vocabulary_size();
  EXPECT_TRUE(Problem({0, size - 1}).ok());
  for (const int32_t id : {-1, size, 1 << 30}) {
    const absl::Status status = Problem({0, id});
    EXPECT_EQ(ErrorReason(status), "TOKENS_OUT_OF_RANGE") << id;
    EXPECT_THAT(std::string(status.message()), HasSubstr("0 to " + std::to_string(size - 1)));
  }
  const auto longest = static_cast<size_t>(encoder_->tokens_max());
  EXPECT_TRUE(Problem(Prompt(longest)).ok());
  for (const size_t length : {size_t{0}, longest + 1}) {
    const absl::Status status = Problem(Prompt(length));
    EXPECT_EQ(ErrorReason(status), "TOKENS_OUT_OF_RANGE") << length;
    EXPECT_THAT(std::string(status.message()), HasSubstr("1 to " + std::to_string(longest)));
  }
}

INSTANTIATE_TEST_SUITE_P(Encoders, TextEncoderTest, ::testing::Values("clip", "t5"),
                         [](const auto& info) { return std::string(info.param); });

TEST(AddTableRowTest, AnyTypeAndAlignment) {
  const float values[] = {1.0f, -2.0f, 0.5f, 4.0f};
  const uint16_t bf16[] = {0x3F80, 0xC000, 0x3F00, 0x4080};
  const uint16_t f16[] = {0x3C00, 0xC000, 0x3800, 0x4400};
  const std::tuple<const void*, size_t, DType> tables[] = {{values, sizeof(values), DType::kF32},
                                                           {bf16, sizeof(bf16), DType::kBf16},
                                                           {f16, sizeof(f16), DType::kF16}};
  for (const auto& [data, bytes, dtype] : tables) {
    std::vector<char> unaligned(bytes + 1);
    std::memcpy(unaligned.data() + 1, data, bytes);
    std::vector<float> row = {10.0f, 20.0f};
    AddTableRow(Tensor(unaligned.data() + 1, dtype, {2, 2}), 1, row.data());
    EXPECT_THAT(row, ElementsAre(10.5f, 24.0f)) << static_cast<int>(dtype);
  }
}

}  // namespace
}  // namespace darkroom
