// What the evaluation says of a mode that is broken: noise in place of pictures, and pictures of
// other captions. On the scorer and the model that ship, since nothing can be broken for random
// weights.

#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "device/cpu/cpu_ops.h"
#include "evaluation/evaluation.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/noise_picture.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

constexpr char kModel[] = DARKROOM_SOURCE_DIR "/deploy/models/emoji";
constexpr int kPrompts = 24;

class BrokenModeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = CaptionScorer::Open(absl::StrCat(kModel, "/scorer"), *ops_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    scorer_ = *std::move(opened);
  }
  int size() const { return scorer_->config().image_size; }
  static int Pictures(const ModeReport& mode) {
    return mode.training.pictures + mode.held_out.pictures;
  }
  static double Top1(const ModeReport& mode) {
    return double(mode.training.top1 + mode.held_out.top1) / Pictures(mode);
  }
  static double Top5(const ModeReport& mode) {
    return double(mode.training.top5 + mode.held_out.top5) / Pictures(mode);
  }

  std::unique_ptr<Ops> ops_ = CreateCpuOps(2);
  std::unique_ptr<CaptionScorer> scorer_;
};

TEST_F(BrokenModeTest, NoiseShowsNoCaption) {
  Evaluation evaluation(*scorer_, {{"noise", "", "", ""}});
  for (size_t i = 0; i < scorer_->captions().size(); ++i) {
    const TimedPicture noise{NoisePicture(size(), static_cast<uint32_t>(i)), 1, 1};
    ASSERT_TRUE(evaluation.Add(i, {noise}).ok());
  }
  const ModeReport mode = evaluation.MakeReport().modes.front();
  // By chance one of all is first.
  EXPECT_LE(Top1(mode), 0.05);
  EXPECT_LE(Top5(mode), 0.10);
  EXPECT_LE(mode.training.mean_cosine, mode.mean_cosine_others + 0.05);
}

TEST_F(BrokenModeTest, NoiseAndPicturesOfOtherCaptionsAreToldFromRealOnes) {
  if (!std::filesystem::exists(absl::StrCat(kModel, "/model_index.json"))) {
    GTEST_SKIP() << "this source tree has no model in " << kModel;
  }
  const TempFolder folder;
  DaemonProcess daemon({kModel, folder.Path("state"), false, {}, {}});
  daemon.Start();
  const auto prompts = ChoosePrompts(scorer_->captions(), kPrompts);
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  std::vector<RgbPicture> pictures;
  for (const size_t prompt : *prompts) {
    v1::GenerateRequest request;
    request.set_prompt(scorer_->captions()[prompt].text);
    request.mutable_sampling()->set_seed(static_cast<int64_t>(prompt));
    const auto ended = GenerateAndWait(daemon.client(), request);
    ASSERT_TRUE(ended.ok()) << ended.status();
    const auto whole = daemon.client().GetGeneration(ended->name(), true);
    ASSERT_TRUE(whole.ok() && whole->outputs_size() == 1) << daemon.log();
    auto decoded = DecodeRgb(whole->outputs(0).data());
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    pictures.push_back(*std::move(decoded));
  }

  Evaluation evaluation(*scorer_,
                        {{"exact", "", "", ""}, {"noise", "", "", ""}, {"shuffled", "", "", ""}});
  for (size_t i = 0; i < pictures.size(); ++i) {
    const RgbPicture noise = NoisePicture(pictures[i].width, static_cast<uint32_t>(i));
    const RgbPicture& other = pictures[(i + 1) % pictures.size()];
    const TimedPicture modes[] = {{pictures[i], 1, 1}, {noise, 1, 1}, {other, 1, 1}};
    ASSERT_TRUE(evaluation.Add((*prompts)[i], modes).ok());
  }
  const Report report = evaluation.MakeReport();
  const ModeReport& exact = report.modes[0];
  EXPECT_GE(Top5(exact), 0.6) << "the model that ships shows its prompts";
  EXPECT_GT(exact.training.mean_cosine, exact.mean_cosine_others + 0.2);
  for (size_t i = 1; i < report.modes.size(); ++i) {
    const ModeReport& broken = report.modes[i];
    EXPECT_LE(Top1(broken), 0.15) << broken.description.name;
    EXPECT_LE(Top5(broken), 0.30) << broken.description.name;
    EXPECT_LT(broken.training.mean_cosine, exact.training.mean_cosine - 0.2)
        << broken.description.name;
    ASSERT_TRUE(broken.difference.has_value());
    EXPECT_EQ(broken.difference->identical, 0);
    EXPECT_LT(broken.difference->psnr->mean, 20) << broken.description.name;
    EXPECT_LT(broken.difference->ssim.mean, 0.8) << broken.description.name;
    EXPECT_GT(broken.difference->perceptual.mean, 0.1) << broken.description.name;
  }
}

}  // namespace
}  // namespace darkroom::testing
