#include "evaluation/caption_scorer.h"

#include <functional>
#include <utility>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/noise_picture.h"
#include "testing/reference_ops.h"
#include "testing/scorer_fixture.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;
using testing::NoisePicture;
using testing::ScorerFixture;

// Numbers are compared with diffusers' and transformers' in tests/golden.
class CaptionScorerTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<CaptionScorer>> Open(const std::string& path) {
    return CaptionScorer::Open(path, ops_);
  }
  void ExpectInvalid(const ScorerFixture& fixture, const std::string& problem) {
    const absl::Status status = Open(fixture.path()).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(problem));
  }

  testing::ReferenceOps ops_;
};

TEST_F(CaptionScorerTest, SaysWhatIsWrongWithItsFolder) {
  EXPECT_EQ(ErrorReason(Open("/no/such/folder").status()), "MODEL_INVALID");
  for (const char* file : {"config.json", "captions.json", "model.safetensors", "tokenizer"}) {
    const ScorerFixture fixture;
    fixture.Remove(file);
    ExpectInvalid(fixture, file);
  }
  const std::pair<std::function<void(nlohmann::json&)>, const char*> cases[] = {
      {[](nlohmann::json& json) { json["projection_dim"] = 13; },
       "image.projection.weight is F32 [12, 24], expected F32, BF16 or F16 [13, 24]"},
      {[](nlohmann::json& json) { json["projection_dim"] = 13; }, "text_projection.weight"},
      {[](nlohmann::json& json) { json["layers_per_block"] = 1; },
       "image.down_blocks.0.resnets.1.conv1.bias"},
      {[](nlohmann::json& json) { json["layers_per_block"] = 3; },
       "missing tensors: image.down_blocks.0.resnets.2"},
      {[](nlohmann::json& json) { json["text_config"]["num_hidden_layers"] = 1; },
       "text.text_model.encoder.layers.1."},
      {[](nlohmann::json& json) { json["text_config"]["vocab_size"] = 800; },
       "text.text_model.embeddings.token_embedding.weight"},
  };
  for (const auto& [change, problem] : cases) {
    const ScorerFixture fixture;
    fixture.Edit("config.json", change);
    ExpectInvalid(fixture, problem);
  }
  const ScorerFixture cut;
  cut.Write("model.safetensors", "not a safetensors file");
  ExpectInvalid(cut, "model.safetensors");
}

TEST_F(CaptionScorerTest, LooksAtMultiplesOfItsSizeOnly) {
  const auto scorer = Open(testing::kTinyScorer);
  ASSERT_TRUE(scorer.ok()) << scorer.status();
  EXPECT_TRUE((*scorer)->CheckSize(16, 16).ok());
  EXPECT_TRUE((*scorer)->CheckSize(16 * 64, 16 * 64).ok());
  const std::pair<int, int> wrong[] = {{8, 8}, {24, 24}, {32, 16}, {0, 0}, {16 * 65, 16 * 65}};
  for (const auto& [width, height] : wrong) {
    const absl::Status status = (*scorer)->CheckSize(width, height);
    EXPECT_EQ(ErrorReason(status), "SCORER_SIZE_MISMATCH") << width;
    EXPECT_THAT(std::string(status.message()), HasSubstr("nearest: ")) << width;
    EXPECT_EQ(ErrorReason((*scorer)->Look({width, height, {}}).status()), "SCORER_SIZE_MISMATCH");
  }
  EXPECT_THAT(std::string((*scorer)->CheckSize(24, 24).message()), HasSubstr("nearest: 32x32"));
}

TEST_F(CaptionScorerTest, APictureIsSeenTheSameInAnyCompany) {
  const auto scorer = Open(testing::kTinyScorer);
  ASSERT_TRUE(scorer.ok()) << scorer.status();
  const auto first = (*scorer)->Look(NoisePicture(16, 1));
  const auto other = (*scorer)->Look(NoisePicture(48, 2));
  const auto again = (*scorer)->Look(NoisePicture(16, 1));
  ASSERT_TRUE(first.ok() && other.ok() && again.ok());
  EXPECT_EQ(first->embedding, again->embedding);
  EXPECT_NE(first->embedding, other->embedding);
  EXPECT_EQ(PerceptualDistance(*first, *again), 0);
  EXPECT_GT(PerceptualDistance(*first, *other), 0.01);
  EXPECT_EQ(PerceptualDistance(*first, *other), PerceptualDistance(*other, *first));
  EXPECT_EQ((*scorer)->Score(*first).size(), (*scorer)->captions().size());

  const auto alone = (*scorer)->Read({"dog"});
  const auto among = (*scorer)->Read({"a blue bicycle", "dog", std::string(5000, 'x')});
  ASSERT_TRUE(alone.ok() && among.ok()) << alone.status() << among.status();
  EXPECT_EQ((*alone)[0], (*among)[1]);
  EXPECT_NE((*among)[0], (*among)[1]);
}

TEST_F(CaptionScorerTest, ItsDigestIsThatOfItsFiles) {
  const auto scorer = Open(testing::kTinyScorer);
  ASSERT_TRUE(scorer.ok()) << scorer.status();
  EXPECT_EQ((*scorer)->digest().size(), 64u);
  const ScorerFixture fixture;
  fixture.Edit("captions.json", [](nlohmann::json& json) { json["captions"].erase(0); });
  const auto other = Open(fixture.path());
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE((*scorer)->digest(), (*other)->digest());
}

}  // namespace
}  // namespace darkroom
