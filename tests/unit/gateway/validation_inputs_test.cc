#include "gateway/validation_inputs.h"

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/sha256.h"
#include "gateway/limits.h"
#include "gateway/validation.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "testing/fake_engine.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kBytes[] = "the bytes of a picture";

v1::InputImage Init() {
  v1::InputImage init;
  init.set_role(v1::INPUT_ROLE_INIT);
  init.set_data(kBytes);
  return init;
}

v1::InputImage Mask() {
  v1::InputImage mask;
  mask.set_role(v1::INPUT_ROLE_MASK);
  mask.set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED);
  mask.set_data("the bytes of a mask");
  return mask;
}

v1::GenerateRequest Edit(bool mask = false) {
  v1::GenerateRequest request;
  request.set_model("models/flux");
  request.set_prompt("a hat");
  *request.add_inputs() = Init();
  if (mask) *request.add_inputs() = Mask();
  return request;
}

v1::Model ClassifierFree() {
  v1::Model model = FakeEngine::Flux();
  model.set_guidance(v1::Model::GUIDANCE_CLASSIFIER_FREE);
  return model;
}

absl::StatusOr<v1::GenerateRequest> Resolve(const v1::GenerateRequest& request,
                                            const v1::Model& model = FakeEngine::Flux()) {
  return ResolveGenerateRequest(
      request, "local", {model}, [] { return uint64_t{7}; }, absl::FromUnixSeconds(1'700'000'000));
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

std::vector<std::string> Fields(const absl::Status& status) {
  google::rpc::BadRequest bad_request;
  const google::rpc::Status proto = ToProto(status);
  for (const auto& detail : proto.details()) detail.UnpackTo(&bad_request);
  std::vector<std::string> fields;
  for (const auto& violation : bad_request.field_violations()) fields.push_back(violation.field());
  return fields;
}

// Changes a good request into one with a single mistake, and says how that is answered.
struct Mistake {
  std::function<void(v1::GenerateRequest&)> make;
  std::string field;
  std::string reason;
  std::string told;
};

void ExpectMistakes(const v1::GenerateRequest& good, const std::vector<Mistake>& mistakes) {
  ASSERT_TRUE(Resolve(good).ok()) << Resolve(good).status();
  for (const Mistake& mistake : mistakes) {
    SCOPED_TRACE(mistake.reason + " " + mistake.field);
    v1::GenerateRequest request = good;
    mistake.make(request);
    const absl::Status status = Resolve(request).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorReason(status), mistake.reason);
    EXPECT_THAT(Fields(status), ElementsAre(mistake.field));
    EXPECT_THAT(Message(status), HasSubstr(mistake.told));
  }
}

TEST(ValidationInputsTest, TheInputsSayWhatTheTaskIs) {
  v1::GenerateRequest text = Edit();
  text.clear_inputs();
  EXPECT_EQ(Resolve(text)->task(), v1::TASK_TEXT_TO_IMAGE);
  EXPECT_EQ(Resolve(Edit())->task(), v1::TASK_IMAGE_TO_IMAGE);
  EXPECT_EQ(Resolve(Edit(true))->task(), v1::TASK_INPAINT);
  EXPECT_FALSE(Resolve(Edit())->has_mask_overlay());
  EXPECT_TRUE(Resolve(Edit(true))->mask_overlay()) << "on by default";
  v1::GenerateRequest off = Edit(true);
  off.set_mask_overlay(false);
  EXPECT_TRUE(Resolve(off)->has_mask_overlay());
  EXPECT_FALSE(Resolve(off)->mask_overlay());
}

TEST(ValidationInputsTest, ResolvedInputsHoldDigestsInPlaceOfBytes) {
  const auto resolved = Resolve(Edit(true));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  ASSERT_EQ(resolved->inputs_size(), 2);
  EXPECT_FALSE(resolved->inputs(0).has_data());
  EXPECT_EQ(resolved->inputs(0).sha256(), Sha256Hex(kBytes));
  EXPECT_EQ(resolved->inputs(1).polarity(), v1::MASK_POLARITY_WHITE_IS_PAINTED);
  EXPECT_EQ(resolved->width(), 0) << "the picture's own, which is not known yet";
  const std::string name = absl::StrCat("tenants/local/assets/", Sha256Hex("x"));
  v1::GenerateRequest by_name = Edit();
  by_name.mutable_inputs(0)->set_asset(name);
  EXPECT_EQ(Resolve(by_name)->inputs(0).asset(), name);
  EXPECT_EQ(Resolve(by_name)->inputs(0).sha256(), Sha256Hex("x"));
}

TEST(ValidationInputsTest, MistakesOfPictures) {
  ExpectMistakes(
      Edit(true),
      {
          {[](auto& r) { r.mutable_inputs(1)->set_role(v1::INPUT_ROLE_UNSPECIFIED); },
           "inputs[1].role", "INPUT_ROLE_UNKNOWN", "must be INPUT_ROLE_INIT or INPUT_ROLE_MASK"},
          {[](auto& r) { *r.mutable_inputs(1) = Init(); }, "inputs[1].role", "INPUT_ROLE_REPEATED",
           "one picture of each role"},
          {[](auto& r) { *r.add_inputs() = Init(); }, "inputs", "INPUTS_TOO_MANY", "at most 2"},
          {[](auto& r) { r.mutable_inputs(1)->clear_polarity(); }, "inputs[1].polarity",
           "MASK_POLARITY_MISSING", "MASK_POLARITY_BLACK_IS_PAINTED"},
          {[](auto& r) { r.mutable_inputs(1)->set_polarity(static_cast<v1::MaskPolarity>(9)); },
           "inputs[1].polarity", "MASK_POLARITY_MISSING", "MASK_POLARITY_WHITE_IS_PAINTED"},
          {[](auto& r) { r.mutable_inputs(0)->set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED); },
           "inputs[0].polarity", "MASK_POLARITY_UNEXPECTED", "must be unset"},
          {[](auto& r) { r.mutable_inputs(0)->clear_source(); }, "inputs[0]",
           "INPUT_SOURCE_MISSING", "neither data nor asset"},
          {[](auto& r) { r.mutable_inputs(0)->set_asset("tenants/local/assets/short"); },
           "inputs[0].asset", "RESOURCE_NAME_INVALID", "tenants/{tenant}/assets/{sha256}"},
          {[](auto& r) { r.mutable_inputs(0)->set_sha256(Sha256Hex("other")); }, "inputs[0].sha256",
           "INPUT_DIGEST_MISMATCH", Sha256Hex(kBytes)},
          {[](auto& r) {
             r.mutable_inputs(0)->set_data(
                 std::string(gateway_limits::kInputDataBytesMax + 1, 'x'));
           },
           "inputs[0].data", "INPUT_TOO_LARGE", "upload larger pictures as assets"},
      });
}

TEST(ValidationInputsTest, TasksMustFitTheirPictures) {
  ExpectMistakes(Edit(true),
                 {
                     {[](auto& r) { r.mutable_inputs()->DeleteSubrange(0, 1); }, "inputs",
                      "MASK_WITHOUT_INIT", "INPUT_ROLE_INIT"},
                     {[](auto& r) { r.set_task(v1::TASK_TEXT_TO_IMAGE), r.clear_mask_overlay(); },
                      "inputs", "INPUT_UNEXPECTED", "nearest task: TASK_INPAINT"},
                     {[](auto& r) { r.set_task(v1::TASK_IMAGE_TO_IMAGE); }, "inputs",
                      "INPUT_UNEXPECTED", "nearest task: TASK_INPAINT"},
                 });
  ExpectMistakes(Edit(), {
                             {[](auto& r) { r.set_task(v1::TASK_INPAINT); }, "inputs",
                              "INPUT_MISSING", "has no mask"},
                             {[](auto& r) { r.set_mask_overlay(true); }, "mask_overlay",
                              "MASK_OVERLAY_UNEXPECTED", "without a mask"},
                         });
  v1::GenerateRequest nothing = Edit();
  nothing.clear_inputs();
  nothing.set_task(v1::TASK_IMAGE_TO_IMAGE);
  EXPECT_EQ(ErrorReason(Resolve(nothing).status()), "INPUT_MISSING");
  v1::Model text_only = FakeEngine::Flux();
  text_only.clear_tasks();
  text_only.add_tasks(v1::TASK_TEXT_TO_IMAGE);
  EXPECT_EQ(ErrorReason(Resolve(Edit(), text_only).status()), "TASK_UNSUPPORTED");
}

TEST(ValidationInputsTest, Strength) {
  EXPECT_EQ(Resolve(Edit())->sampling().strength(), gateway_limits::kStrengthDefault);
  v1::Model own = FakeEngine::Flux();
  own.mutable_defaults()->set_strength(0.8);
  EXPECT_EQ(Resolve(Edit(), own)->sampling().strength(), 0.8);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {-0.01, 1.01, nan, -nan, 1e308, -1e308}) {
    v1::GenerateRequest request = Edit();
    request.mutable_sampling()->set_strength(bad);
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "STRENGTH_OUT_OF_RANGE") << bad;
    EXPECT_THAT(Message(Resolve(request).status()), HasSubstr("must be 0 to 1; nearest: "));
  }
  v1::GenerateRequest none = Edit();
  none.mutable_sampling()->set_strength(0);
  none.mutable_sampling()->set_steps(8);
  EXPECT_EQ(ErrorReason(Resolve(none).status()), "STRENGTH_LEAVES_NO_STEP");
  EXPECT_THAT(Message(Resolve(none).status()), HasSubstr("none of 8 steps"));
  EXPECT_THAT(Message(Resolve(none).status()), HasSubstr("nearest: 0.125"));
  none.mutable_sampling()->set_strength(0.125);
  EXPECT_TRUE(Resolve(none).ok());
  none.clear_inputs();
  EXPECT_EQ(ErrorReason(Resolve(none).status()), "STRENGTH_WITHOUT_INIT");
}

TEST(ValidationInputsTest, Samplers) {
  EXPECT_EQ(Resolve(Edit())->sampling().sampler(), "flow_match_euler") << "the model's first";
  v1::GenerateRequest request = Edit();
  request.mutable_sampling()->set_sampler("flow_match_heun");
  EXPECT_TRUE(Resolve(request).ok());
  request.mutable_sampling()->set_sampler("flow_match_huen");
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "SAMPLER_UNSUPPORTED");
  EXPECT_THAT(Message(Resolve(request).status()), HasSubstr("nearest: flow_match_heun"));
  request.mutable_sampling()->set_sampler(std::string(1 << 20, 'x'));
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "SAMPLER_UNSUPPORTED");
}

TEST(ValidationInputsTest, TrueCfgAndNegativePrompt) {
  EXPECT_EQ(Resolve(Edit())->sampling().true_cfg_scale(), 1);
  v1::GenerateRequest request = Edit();
  request.set_negative_prompt("a beard");
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "NEGATIVE_PROMPT_WITHOUT_GUIDANCE");
  EXPECT_THAT(Message(Resolve(request).status()), HasSubstr("sampling.true_cfg_scale above 1"));
  request.mutable_sampling()->set_true_cfg_scale(4);
  ASSERT_TRUE(Resolve(request).ok()) << Resolve(request).status();
  EXPECT_EQ(Resolve(request)->negative_prompt(), "a beard");
  for (const double bad : {0.99, 30.01, std::numeric_limits<double>::quiet_NaN()}) {
    request.mutable_sampling()->set_true_cfg_scale(bad);
    EXPECT_THAT(Message(Resolve(request).status()), HasSubstr("must be 1 to 30; nearest: "));
  }

  request = Edit();
  request.set_negative_prompt("a beard");
  EXPECT_TRUE(Resolve(request, ClassifierFree()).ok()) << "guidance_scale 4 is its default";
  request.mutable_sampling()->set_guidance_scale(1);
  EXPECT_EQ(ErrorReason(Resolve(request, ClassifierFree()).status()),
            "NEGATIVE_PROMPT_WITHOUT_GUIDANCE");
  request = Edit();
  request.mutable_sampling()->set_true_cfg_scale(2);
  EXPECT_EQ(ErrorReason(Resolve(request, ClassifierFree()).status()), "TRUE_CFG_UNSUPPORTED");
  request = Edit();
  request.set_negative_prompt("a\nb");
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "TEXT_HAS_CONTROL_CHARACTER");
  EXPECT_THAT(Fields(Resolve(request).status()), ElementsAre("negative_prompt"));

  v1::GenerateRequest by_class;
  by_class.set_prompt("goldfish");
  by_class.set_negative_prompt("daisy");
  EXPECT_EQ(ErrorReason(Resolve(by_class, FakeEngine::Dit()).status()),
            "NEGATIVE_PROMPT_UNSUPPORTED");
}

TEST(ValidationInputsTest, SequenceLengthIsTheModelsAtMost) {
  EXPECT_EQ(Resolve(Edit())->sampling().max_sequence_length(), 512);
  v1::GenerateRequest request = Edit();
  for (const int good : {1, 256, 512}) {
    request.mutable_sampling()->set_max_sequence_length(good);
    EXPECT_EQ(Resolve(request)->sampling().max_sequence_length(), good);
  }
  for (const int bad : {-1, 513, std::numeric_limits<int32_t>::max()}) {
    request.mutable_sampling()->set_max_sequence_length(bad);
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "SEQUENCE_LENGTH_OUT_OF_RANGE");
    EXPECT_THAT(Message(Resolve(request).status()),
                HasSubstr(bad < 1 ? "nearest: 1" : "nearest: 512"));
  }
}

TEST(ValidationInputsTest, NoiseTypes) {
  EXPECT_EQ(Resolve(Edit())->sampling().noise_dtype(), v1::NOISE_DTYPE_F32);
  v1::GenerateRequest request = Edit();
  request.mutable_sampling()->set_noise_dtype(v1::NOISE_DTYPE_BF16);
  EXPECT_EQ(Resolve(request)->sampling().noise_dtype(), v1::NOISE_DTYPE_BF16);
  request.mutable_sampling()->set_noise_dtype(static_cast<v1::NoiseDtype>(5));
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "NOISE_DTYPE_UNKNOWN");
}

TEST(ValidationInputsTest, Previews) {
  EXPECT_FALSE(Resolve(Edit())->has_preview());
  v1::GenerateRequest request = Edit();
  request.mutable_preview()->set_every_n_steps(5);
  EXPECT_EQ(Resolve(request)->preview().size_max(), gateway_limits::kPreviewSizeDefault);
  for (const int bad : {-1, 1001}) {
    request.mutable_preview()->set_every_n_steps(bad);
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "PREVIEW_STEPS_OUT_OF_RANGE");
  }
  request.mutable_preview()->set_every_n_steps(1);
  for (const int bad : {-1, 15, 513}) {
    request.mutable_preview()->set_size_max(bad);
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "PREVIEW_SIZE_OUT_OF_RANGE");
    EXPECT_THAT(Message(Resolve(request).status()), HasSubstr("must be 16 to 512, or 0; nearest"));
  }
}

TEST(ValidationInputsTest, FieldsFromANewerClientAreNamed) {
  v1::GenerateRequest request = Edit();
  v1::InputImage& input = *request.mutable_inputs(0);
  input.GetReflection()->MutableUnknownFields(&input)->AddVarint(500, 1);
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "FIELD_UNKNOWN");
  request = Edit();
  v1::PreviewOptions& preview = *request.mutable_preview();
  preview.GetReflection()->MutableUnknownFields(&preview)->AddVarint(500, 1);
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "FIELD_UNKNOWN");
}

// ---- once they are decoded ----

Picture Sized(int width, int height) {
  Picture picture;
  picture.width = width;
  picture.height = height;
  return picture;
}

absl::Status Fit(v1::GenerateRequest& resolved, const std::vector<Picture>& pictures,
                 const v1::Model& model = FakeEngine::Flux()) {
  return ResolvePictures(model, pictures, resolved);
}

TEST(ResolvePicturesTest, TheOutputTakesThePicturesSize) {
  v1::GenerateRequest resolved = *Resolve(Edit(true));
  ASSERT_TRUE(Fit(resolved, {Sized(512, 768), Sized(512, 768)}).ok());
  EXPECT_EQ(resolved.width(), 512);
  EXPECT_EQ(resolved.height(), 768);
}

TEST(ResolvePicturesTest, AnotherSizeIsToldWithTheOneToTake) {
  v1::GenerateRequest request = Edit(true);
  request.set_width(512);
  v1::GenerateRequest resolved = *Resolve(request);
  absl::Status status = Fit(resolved, {Sized(640, 768), Sized(512, 768)});
  EXPECT_EQ(ErrorReason(status), "INPUT_SIZE_MISMATCH");
  EXPECT_THAT(Fields(status), ElementsAre("inputs[0]"));
  EXPECT_THAT(Message(status), HasSubstr("nearest: 512 by 768"));
  resolved = *Resolve(Edit(true));
  status = Fit(resolved, {Sized(512, 512), Sized(512, 256)});
  EXPECT_THAT(Fields(status), ElementsAre("inputs[1]"));
}

TEST(ResolvePicturesTest, ASizeThatTheModelCannotMakeIsToldWithTheNearest) {
  const struct {
    int width;
    int height;
    std::string nearest;
  } kRows[] = {
      {500, 512, "496 by 512"},
      {16, 512, "256 by 512"},
      {8192, 2000, "1024 by 1024"},
      {505, 519, "512 by 512"},
  };
  for (const auto& row : kRows) {
    v1::GenerateRequest resolved = *Resolve(Edit());
    const absl::Status status = Fit(resolved, {Sized(row.width, row.height)});
    EXPECT_EQ(ErrorReason(status), "INPUT_SIZE_INVALID");
    EXPECT_THAT(Message(status), HasSubstr(absl::StrCat("nearest: ", row.nearest)));
  }
  v1::Model square = FakeEngine::Flux();
  square.mutable_limits()->set_square_only(true);
  v1::GenerateRequest resolved = *Resolve(Edit());
  EXPECT_THAT(Message(Fit(resolved, {Sized(512, 256)}, square)), HasSubstr("nearest: 512 by 512"));
}

TEST(ResolvePicturesTest, TheOrderOfInputsIsTheClients) {
  v1::GenerateRequest request = Edit(true);
  request.mutable_inputs()->SwapElements(0, 1);
  v1::GenerateRequest resolved = *Resolve(request);
  const absl::Status status = Fit(resolved, {Sized(256, 256), Sized(512, 512)});
  EXPECT_THAT(Fields(status), ElementsAre("inputs[0]")) << "the mask must fit the picture";
}

}  // namespace
}  // namespace darkroom
