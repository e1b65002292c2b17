#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "device/cpu/cpu_ops.h"
#include "evaluation/caption_scorer.h"
#include "evaluation/picture_metrics.h"
#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "testing/reference_ops.h"

// The caption scorer in float32 against diffusers' and transformers' modules, and the distances of
// pictures against scikit-image's.
namespace darkroom::golden {
namespace {

constexpr double kTolerance = 2e-5;

struct Backend {
  const char* name;
  std::unique_ptr<Ops> (*make)();
};

const Backend kReference = {
    "reference", [] { return std::unique_ptr<Ops>(std::make_unique<testing::ReferenceOps>()); }};
const Backend kCpu = {"cpu", [] { return CreateCpuOps(2); }};

RgbPicture PictureOf(const Fixture& fixture, const std::string& name) {
  const Tensor tensor = fixture.Get(name + ".picture");
  const auto* bytes = tensor.as<const uint8_t>();
  return {static_cast<int>(tensor.dim(1)), static_cast<int>(tensor.dim(0)),
          std::vector<uint8_t>(bytes, bytes + tensor.size())};
}

class ScorerGoldenTest : public ::testing::TestWithParam<const Backend*> {
 protected:
  ScorerGoldenTest() : fixture_("scorer/goldens.json"), ops_(GetParam()->make()) {
    auto opened = CaptionScorer::Open(fixture_.folder() + "/scorer", *ops_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    scorer_ = *std::move(opened);
  }

  Fixture fixture_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<CaptionScorer> scorer_;
};

TEST_P(ScorerGoldenTest, PicturesLevelsAndEmbeddings) {
  for (const char* name : {"smooth", "near", "noise", "hue", "large", "blurred"}) {
    const auto features = scorer_->Look(PictureOf(fixture_, name));
    ASSERT_TRUE(features.ok()) << features.status();
    EXPECT_LE(MaxDifference(features->embedding, fixture_.Floats(absl::StrCat(name, ".embedding"))),
              kTolerance)
        << name;
    for (size_t i = 0; i < features->levels.size(); ++i) {
      const std::string level = absl::StrCat(name, ".level.", i);
      if (!fixture_.Has(level)) continue;
      const std::vector<float> expected = fixture_.Floats(level);
      EXPECT_LE(MaxDifference(features->levels[i].values, expected),
                kTolerance * MaxMagnitude(expected))
          << level;
    }
  }
  EXPECT_TRUE(fixture_.Has("large.level.2"));
}

TEST_P(ScorerGoldenTest, CaptionsAndCosines) {
  std::vector<std::string> texts;
  for (const Caption& caption : scorer_->captions()) texts.push_back(caption.text);
  const auto embeddings = scorer_->Read(texts);
  ASSERT_TRUE(embeddings.ok()) << embeddings.status();
  std::vector<float> all;
  for (const auto& embedding : *embeddings) {
    all.insert(all.end(), embedding.begin(), embedding.end());
  }
  const std::vector<float> expected = fixture_.Floats("captions");
  EXPECT_LE(MaxDifference(all, expected), kTolerance);

  const auto features = scorer_->Look(PictureOf(fixture_, "large"));
  ASSERT_TRUE(features.ok()) << features.status();
  const std::vector<float> picture = fixture_.Floats("large.embedding");
  std::vector<float> cosines(texts.size(), 0.0f);
  for (size_t i = 0; i < expected.size(); ++i) {
    cosines[i / picture.size()] += picture[i % picture.size()] * expected[i];
  }
  EXPECT_LE(MaxDifference(scorer_->Score(*features), cosines), kTolerance);
}

TEST_P(ScorerGoldenTest, PerceptualDistances) {
  int compared = 0;
  for (const Json& pair : fixture_.json().at("pairs")) {
    if (!pair.contains("perceptual")) continue;
    const auto a = scorer_->Look(PictureOf(fixture_, pair.at("picture")));
    const auto b = scorer_->Look(PictureOf(fixture_, pair.at("reference")));
    ASSERT_TRUE(a.ok() && b.ok());
    const auto expected = pair.at("perceptual").get<double>();
    EXPECT_NEAR(PerceptualDistance(*a, *b), expected, 1e-4 * expected) << pair;
    ++compared;
  }
  EXPECT_EQ(compared, 4);
}

INSTANTIATE_TEST_SUITE_P(Backends, ScorerGoldenTest, ::testing::Values(&kReference, &kCpu),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(PictureMetricsGoldenTest, PsnrAndSsimAreScikitImages) {
  const Fixture fixture("scorer/goldens.json");
  int compared = 0;
  for (const Json& pair : fixture.json().at("pairs")) {
    const RgbPicture picture = PictureOf(fixture, pair.at("picture"));
    const RgbPicture reference = PictureOf(fixture, pair.at("reference"));
    EXPECT_NEAR(*Psnr(picture, reference), pair.at("psnr").get<double>(), 1e-9) << pair;
    EXPECT_NEAR(*Ssim(picture, reference), pair.at("ssim").get<double>(), 1e-9) << pair;
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

}  // namespace
}  // namespace darkroom::golden
