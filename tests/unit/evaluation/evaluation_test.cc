#include "evaluation/evaluation.h"

#include <algorithm>

#include "base/error.h"
#include "gtest/gtest.h"
#include "testing/noise_picture.h"
#include "testing/reference_ops.h"
#include "testing/scorer_fixture.h"

namespace darkroom {
namespace {

using testing::NoisePicture;

class EvaluationTest : public ::testing::Test {
 protected:
  EvaluationTest() {
    auto opened = CaptionScorer::Open(testing::kTinyScorer, ops_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    scorer_ = *std::move(opened);
  }

  static std::vector<ModeDescription> Modes() {
    return {{"exact", "models/a", "f32", "1"}, {"bf16", "models/b", "bf16", "2"}};
  }
  static TimedPicture Timed(RgbPicture picture, double seconds) {
    return {std::move(picture), seconds, seconds * 2};
  }

  testing::ReferenceOps ops_;
  std::unique_ptr<CaptionScorer> scorer_;
};

TEST_F(EvaluationTest, ComparesEveryModeWithTheExactOne) {
  Evaluation evaluation(*scorer_, Modes());
  const RgbPicture picture = NoisePicture(16, 1);
  RgbPicture touched = picture;
  touched.rgb[100] ^= 8;
  ASSERT_TRUE(evaluation.Add(0, {Timed(picture, 3), Timed(picture, 1)}).ok());
  ASSERT_TRUE(evaluation.Add(3, {Timed(picture, 5), Timed(touched, 2)}).ok());
  ASSERT_TRUE(evaluation.Add(1, {Timed(picture, 4), Timed(NoisePicture(16, 9), 2)}).ok());
  const Report report = evaluation.MakeReport();
  EXPECT_EQ(report.prompts, 3);
  EXPECT_EQ(report.gallery, 12);
  EXPECT_EQ(report.scorer_digest, scorer_->digest());
  const ModeReport& exact = report.modes[0];
  const ModeReport& bf16 = report.modes[1];
  EXPECT_EQ(exact.description.model, "models/a");
  EXPECT_FALSE(exact.difference.has_value());
  EXPECT_EQ(exact.compute_seconds.median, 4);
  EXPECT_EQ(exact.compute_seconds.p95, 5);
  EXPECT_EQ(exact.wall_seconds.median, 8);
  EXPECT_EQ(*exact.speed_up, 1);
  EXPECT_EQ(*bf16.speed_up, 2);
  ASSERT_TRUE(bf16.difference.has_value());
  EXPECT_EQ(bf16.difference->identical, 1);
  ASSERT_TRUE(bf16.difference->psnr.has_value());
  EXPECT_LT(bf16.difference->psnr->worst, 12) << "noise";
  EXPECT_GT(bf16.difference->psnr->mean, bf16.difference->psnr->worst + 10) << "one byte";
  EXPECT_LT(bf16.difference->ssim.worst, 0.2);
  EXPECT_GT(bf16.difference->ssim.mean, 0.6);
  EXPECT_GT(bf16.difference->perceptual.worst, bf16.difference->perceptual.mean);
  EXPECT_GT(bf16.difference->perceptual.mean, 0);
  // Caption 3 is held out.
  EXPECT_EQ(exact.training.pictures, 2);
  EXPECT_EQ(exact.held_out.pictures, 1);
}

TEST_F(EvaluationTest, RetrievalFollowsTheScorer) {
  const RgbPicture picture = NoisePicture(16, 5);
  const auto features = scorer_->Look(picture);
  ASSERT_TRUE(features.ok());
  const std::vector<float> scores = scorer_->Score(*features);
  const auto best =
      static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  const auto worst =
      static_cast<size_t>(std::min_element(scores.begin(), scores.end()) - scores.begin());
  Evaluation evaluation(*scorer_, {Modes().front()});
  ASSERT_TRUE(evaluation.Add(best, {Timed(picture, 1)}).ok());
  ASSERT_TRUE(evaluation.Add(worst, {Timed(picture, 1)}).ok());
  const ModeReport mode = evaluation.MakeReport().modes.front();
  EXPECT_EQ(mode.training.top1 + mode.held_out.top1, 1);
  EXPECT_EQ(mode.training.top5 + mode.held_out.top5, 1);
  double others = 0;
  for (const float score : scores) others += 2 * score;
  others = (others - scores[best] - scores[worst]) / 2 / static_cast<double>(scores.size() - 1);
  EXPECT_NEAR(mode.mean_cosine_others, others, 1e-6);
}

TEST_F(EvaluationTest, WithoutTheExactModeNothingIsCompared) {
  Evaluation evaluation(*scorer_, {Modes().back()});
  ASSERT_TRUE(evaluation.Add(0, {Timed(NoisePicture(32, 1), 3)}).ok());
  const ModeReport mode = evaluation.MakeReport().modes.front();
  EXPECT_FALSE(mode.difference.has_value());
  EXPECT_FALSE(mode.speed_up.has_value());
  EXPECT_EQ(mode.compute_seconds.median, 3);
}

TEST_F(EvaluationTest, AnErrorLeavesTheFiguresAsTheyWere) {
  Evaluation evaluation(*scorer_, Modes());
  const TimedPicture picture = Timed(NoisePicture(16, 1), 1);
  EXPECT_EQ(ErrorReason(evaluation.Add(0, {picture, Timed(NoisePicture(20, 1), 1)})),
            "SCORER_SIZE_MISMATCH");
  EXPECT_EQ(ErrorReason(evaluation.Add(0, {picture, Timed(NoisePicture(32, 1), 1)})),
            "PICTURE_SIZES_DIFFER");
  const Report report = evaluation.MakeReport();
  EXPECT_EQ(report.prompts, 0);
  EXPECT_EQ(report.modes[0].training.pictures, 0);
  EXPECT_EQ(report.modes[0].compute_seconds.median, 0);
  EXPECT_FALSE(report.modes[1].difference.has_value());
}

}  // namespace
}  // namespace darkroom
