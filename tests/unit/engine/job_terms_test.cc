#include "engine/job_terms.h"

#include <algorithm>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

v1::GenerateRequest Request(int steps) {
  v1::GenerateRequest request;
  request.set_model("models/flux");
  request.set_prompt("a hat");
  request.set_width(512);
  request.set_height(256);
  request.mutable_sampling()->set_steps(steps);
  request.mutable_sampling()->set_seed(40);
  request.mutable_sampling()->set_sampler("flow_match_euler");
  request.mutable_sampling()->set_guidance_scale(3.5);
  request.mutable_sampling()->set_true_cfg_scale(1);
  return request;
}

v1::GenerateRequest Edit(int steps, double strength) {
  v1::GenerateRequest request = Request(steps);
  request.mutable_sampling()->set_strength(strength);
  v1::InputImage& init = *request.add_inputs();
  init.set_role(v1::INPUT_ROLE_INIT);
  init.set_sha256("aa");
  return request;
}

void AddMask(v1::GenerateRequest& request, v1::MaskPolarity polarity) {
  v1::InputImage& mask = *request.add_inputs();
  mask.set_role(v1::INPUT_ROLE_MASK);
  mask.set_polarity(polarity);
  mask.set_sha256("bb");
  request.set_mask_overlay(true);
}

TEST(JobTermsTest, EveryStageHasItsOwnNameInTheProtocol) {
  std::map<v1::Stage, scheduler::Stage> seen;
  for (int i = 0; i < scheduler::kStages; ++i) {
    const auto stage = static_cast<scheduler::Stage>(i);
    EXPECT_TRUE(seen.emplace(StageToProto(stage), stage).second);
    EXPECT_EQ(StageFromProto(StageToProto(stage)), stage);
  }
  EXPECT_FALSE(seen.contains(v1::STAGE_UNSPECIFIED));
  EXPECT_FALSE(StageFromProto(v1::STAGE_UNSPECIFIED).has_value());
  EXPECT_FALSE(StageFromProto(static_cast<v1::Stage>(99)).has_value());
}

TEST(JobTermsTest, StrengthCountsOnlyWithAPicture) {
  EXPECT_EQ(Evaluations(Request(10)), 10);
  EXPECT_EQ(Evaluations(Edit(10, 0.6)), 6);
  v1::GenerateRequest stray = Request(10);
  stray.mutable_sampling()->set_strength(0.1);
  EXPECT_EQ(Evaluations(stray), 10);
  v1::GenerateRequest second_order = Edit(10, 0.6);
  second_order.mutable_sampling()->set_sampler("flow_match_heun");
  EXPECT_EQ(Evaluations(second_order), 11);
}

TEST(JobTermsTest, ASecondBranchIsPackedForClassifierFreeGuidance) {
  v1::GenerateRequest request = Request(4);
  EXPECT_EQ(Branches(request, v1::Model::GUIDANCE_CLASSIFIER_FREE), 2);
  EXPECT_EQ(Branches(request, v1::Model::GUIDANCE_UNSPECIFIED), 2);
  EXPECT_EQ(Branches(request, v1::Model::GUIDANCE_DISTILLED), 1) << "distilled into the weights";
  EXPECT_EQ(Branches(request, v1::Model::GUIDANCE_NONE), 1);
  request.mutable_sampling()->set_true_cfg_scale(2);
  EXPECT_EQ(Branches(request, v1::Model::GUIDANCE_DISTILLED), 2);
  request.mutable_sampling()->set_true_cfg_scale(1);
  request.mutable_sampling()->set_guidance_scale(1);
  EXPECT_EQ(Branches(request, v1::Model::GUIDANCE_CLASSIFIER_FREE), 1);
}

TEST(JobTermsTest, PreviewsComeEverySoManyStepsAndNotAfterTheLast) {
  v1::GenerateRequest request = Edit(10, 0.6);
  for (int done = 1; done <= 6; ++done) EXPECT_FALSE(PreviewDue(request, done));
  request.mutable_preview()->set_every_n_steps(2);
  for (int done = 1; done <= 6; ++done) {
    EXPECT_EQ(PreviewDue(request, done), done == 2 || done == 4) << done;
  }
  request.mutable_preview()->set_every_n_steps(1000);
  for (int done = 1; done <= 6; ++done) EXPECT_FALSE(PreviewDue(request, done));
}

TEST(JobTermsTest, UsesFollowRoleAndPolarity) {
  v1::InputImage input;
  input.set_role(v1::INPUT_ROLE_INIT);
  EXPECT_EQ(UseOf(input), PictureUse::kImage);
  input.set_role(v1::INPUT_ROLE_MASK);
  input.set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED);
  EXPECT_EQ(UseOf(input), PictureUse::kMaskWhite);
  input.set_polarity(v1::MASK_POLARITY_BLACK_IS_PAINTED);
  EXPECT_EQ(UseOf(input), PictureUse::kMaskBlack);
  input.set_polarity(v1::MASK_POLARITY_TRANSPARENT_IS_PAINTED);
  EXPECT_EQ(UseOf(input), PictureUse::kMaskTransparent);
}

TEST(JobTermsTest, ASlotGetsEverythingThatDecidesItsBits) {
  v1::GenerateRequest request = Edit(10, 0.25);
  request.set_negative_prompt("a beard");
  request.mutable_sampling()->set_true_cfg_scale(2.5);
  request.mutable_sampling()->set_max_sequence_length(256);
  request.mutable_sampling()->set_noise_dtype(v1::NOISE_DTYPE_BF16);
  v1::OpenSlot open;
  FillOpenSlot(request, 3, open);
  EXPECT_EQ(open.width(), 512);
  EXPECT_EQ(open.height(), 256);
  EXPECT_EQ(open.prompt(), "a hat");
  EXPECT_EQ(open.negative_prompt(), "a beard");
  EXPECT_EQ(open.seed(), 43) << "the third after the first";
  EXPECT_EQ(open.steps(), 10) << "of the whole schedule, whatever the strength";
  EXPECT_EQ(open.strength(), 0.25);
  EXPECT_EQ(open.guidance_scale(), 3.5);
  EXPECT_EQ(open.true_cfg_scale(), 2.5);
  EXPECT_EQ(open.max_sequence_length(), 256);
  EXPECT_EQ(open.noise_dtype(), v1::DTYPE_BF16);
  EXPECT_EQ(open.sampler(), "flow_match_euler");
  v1::OpenSlot plain;
  FillOpenSlot(Request(10), 0, plain);
  EXPECT_EQ(plain.strength(), 0);
  EXPECT_EQ(plain.noise_dtype(), v1::DTYPE_F32);
}

TEST(JobTermsTest, APictureTellsHowItWasMade) {
  v1::GenerateRequest request = Edit(10, 0.25);
  AddMask(request, v1::MASK_POLARITY_BLACK_IS_PAINTED);
  request.set_negative_prompt("a beard");
  request.mutable_sampling()->set_true_cfg_scale(2.5);
  request.mutable_sampling()->set_max_sequence_length(256);
  request.mutable_sampling()->set_noise_dtype(v1::NOISE_DTYPE_BF16);
  const auto texts = PictureTexts(request, 1, "numerics");
  using Text = std::pair<std::string, std::string>;
  for (const Text& text :
       {Text{"model", "models/flux"}, Text{"prompt", "a hat"}, Text{"seed", "41"},
        Text{"steps", "10"}, Text{"guidance_scale", "3.5"}, Text{"size", "512x256"},
        Text{"sampler", "flow_match_euler"}, Text{"numerics_id", "numerics"},
        Text{"true_cfg_scale", "2.5"}, Text{"negative_prompt", "a beard"},
        Text{"max_sequence_length", "256"}, Text{"noise_dtype", "bf16"}, Text{"strength", "0.25"},
        Text{"init_sha256", "aa"}, Text{"mask_sha256", "bb"}, Text{"mask_polarity", "black"},
        Text{"mask_overlay", "true"}}) {
    EXPECT_THAT(texts, Contains(text));
  }
  const auto plain = PictureTexts(Request(10), 0, "numerics");
  for (const char* absent : {"strength", "negative_prompt", "true_cfg_scale", "init_sha256",
                             "mask_sha256", "noise_dtype", "max_sequence_length"}) {
    EXPECT_THAT(plain, Not(Contains(Key(std::string(absent)))));
  }
}

TEST(JobTermsTest, InputsLieUnderTheirGeneration) {
  EXPECT_EQ(InputBlobKey("tenants/t/generations/g", 1), "tenants/t/generations/g/input-1");
}

}  // namespace
}  // namespace darkroom::engine
