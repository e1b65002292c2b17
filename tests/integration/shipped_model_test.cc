// What the model that ships is for, through a real daemon: pictures that show their prompts, edits
// of pictures, negative prompts. Its own scorer is the judge.

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "device/cpu/cpu_ops.h"
#include "evaluation/caption_scorer.h"
#include "evaluation/rgb_picture.h"
#include "gtest/gtest.h"
#include "media/png.h"
#include "testing/daemon_process.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

constexpr char kModel[] = DARKROOM_SOURCE_DIR "/deploy/models/emoji";
constexpr int kSize = 64;

class ShippedModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = CaptionScorer::Open(absl::StrCat(kModel, "/scorer"), *ops_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    scorer_ = *std::move(opened);
    daemon_.Start();
  }

  static v1::GenerateRequest Text(const std::string& prompt, int64_t seed) {
    v1::GenerateRequest request;
    request.set_prompt(prompt);
    request.mutable_sampling()->set_seed(seed);
    return request;
  }

  static v1::InputImage& AddInput(v1::GenerateRequest& request, v1::InputRole role,
                                  const std::string& file) {
    v1::InputImage& input = *request.add_inputs();
    input.set_role(role);
    input.set_data(file);
    return input;
  }

  // The picture's file; an empty one fails the test.
  std::string Generate(const v1::GenerateRequest& request) {
    const auto ended = GenerateAndWait(daemon_.client(), request);
    EXPECT_TRUE(ended.ok()) << ended.status() << daemon_.log();
    if (!ended.ok()) return "";
    const auto whole = daemon_.client().GetGeneration(ended->name(), true);
    EXPECT_TRUE(whole.ok() && whole->outputs_size() == 1) << whole.status() << daemon_.log();
    return whole.ok() && whole->outputs_size() == 1 ? whole->outputs(0).data() : "";
  }

  static RgbPicture Decode(const std::string& file) {
    auto decoded = DecodeRgb(file);
    EXPECT_TRUE(decoded.ok()) << decoded.status();
    return decoded.ok() ? *std::move(decoded) : RgbPicture{};
  }

  // The cosine of a picture with each caption, which need not be of the gallery.
  std::vector<float> Cosines(const std::string& file, absl::Span<const std::string> captions) {
    const auto features = scorer_->Look(Decode(file));
    const auto texts = scorer_->Read(captions);
    EXPECT_TRUE(features.ok() && texts.ok());
    std::vector<float> cosines;
    for (const std::vector<float>& text : *texts) {
      float sum = 0;
      for (size_t i = 0; i < text.size(); ++i) sum += text[i] * features->embedding[i];
      cosines.push_back(sum);
    }
    return cosines;
  }

  std::unique_ptr<Ops> ops_ = CreateCpuOps(2);
  std::unique_ptr<CaptionScorer> scorer_;
  const TempFolder folder_;
  DaemonProcess daemon_{{kModel, folder_.Path("state"), false, {}, {}}};
};

struct EditCase {
  const char* before;
  const char* after;
  int painted_left;  // columns from here on are painted
};

constexpr std::array<EditCase, 3> kEdits = {{
    {"red heart", "blue heart", 32},
    {"panda", "bear", 24},
    {"red apple", "green apple", 16},
}};

TEST_F(ShippedModelTest, InpaintingPaintsThePromptAndNothingElse) {
  for (const EditCase& edit : kEdits) {
    const std::string before = Generate(Text(edit.before, 1));
    RgbPicture mask{kSize, kSize, std::vector<uint8_t>(size_t{3} * kSize * kSize)};
    for (size_t i = 0; i < mask.rgb.size(); ++i) {
      mask.rgb[i] = static_cast<int>(i / 3 % kSize) < edit.painted_left ? 0 : 255;
    }
    v1::GenerateRequest request = Text(edit.after, 3);
    request.mutable_sampling()->set_strength(1);
    AddInput(request, v1::INPUT_ROLE_INIT, before);
    const auto mask_file = EncodePng(mask.rgb, kSize, kSize, {});
    ASSERT_TRUE(mask_file.ok()) << mask_file.status();
    AddInput(request, v1::INPUT_ROLE_MASK, *mask_file)
        .set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED);
    const std::string after = Generate(request);

    const RgbPicture was = Decode(before), is = Decode(after);
    ASSERT_EQ(was.rgb.size(), is.rgb.size());
    for (size_t i = 0; i < is.rgb.size(); ++i) {
      if (mask.rgb[i] != 0) continue;
      ASSERT_EQ(is.rgb[i], was.rgb[i]) << edit.after << ", value " << i;
    }
    const std::string captions[] = {edit.before, edit.after};
    const auto old_cosines = Cosines(before, captions), new_cosines = Cosines(after, captions);
    const float gain = (new_cosines[1] - new_cosines[0]) - (old_cosines[1] - old_cosines[0]);
    EXPECT_GT(gain, 0.15) << edit.before << " -> " << edit.after;
  }
}

TEST_F(ShippedModelTest, ImageToImageLeadsFromThePictureToThePrompt) {
  for (const EditCase& edit : kEdits) {
    const std::string before = Generate(Text(edit.before, 1));
    const std::string captions[] = {edit.before, edit.after};
    v1::GenerateRequest request = Text(edit.after, 3);
    request.mutable_sampling()->set_strength(0.9);
    AddInput(request, v1::INPUT_ROLE_INIT, before);
    EXPECT_GT(Cosines(Generate(request), captions)[1], Cosines(before, captions)[1] + 0.2)
        << edit.after;
  }
}

// Over a few seeds, since one picture may not have shown it anyway.
TEST_F(ShippedModelTest, ANegativePromptLeadsAwayFromWhatItSays) {
  constexpr int kSeeds = 4;
  const std::string shown[] = {"red heart"};
  float without = 0, with = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    v1::GenerateRequest request = Text("heart", seed);
    without += Cosines(Generate(request), shown)[0] / kSeeds;
    request.set_negative_prompt(shown[0]);
    with += Cosines(Generate(request), shown)[0] / kSeeds;
  }
  EXPECT_LT(with, without - 0.1);
}

}  // namespace
}  // namespace darkroom::testing
