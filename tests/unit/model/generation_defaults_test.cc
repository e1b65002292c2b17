#include "model/generation_defaults.h"

#include <string>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class GenerationDefaultsTest : public ::testing::Test {
 protected:
  GenerationDefaultsTest() {
    temp_.Write("model_index.json", R"({"_class_name": "FluxPipeline"})");
    model_.mutable_limits()->set_steps_max(100);
    model_.mutable_defaults()->set_steps(4);
    model_.mutable_defaults()->set_guidance_scale(1);
    model_.mutable_defaults()->set_true_cfg_scale(1);
    model_.mutable_defaults()->set_strength(0.6);
  }

  absl::Status Read() {
    auto folder = ModelFolder::Open(temp_.path());
    EXPECT_TRUE(folder.ok()) << folder.status();
    return ReadGenerationDefaults(*folder, model_);
  }

  testing::TempFolder temp_;
  v1::Model model_;
};

TEST_F(GenerationDefaultsTest, WithoutTheFileTheFamilysStay) {
  const std::string before = model_.SerializeAsString();
  ASSERT_TRUE(Read().ok());
  EXPECT_EQ(model_.SerializeAsString(), before);
}

TEST_F(GenerationDefaultsTest, WhatTheFileSaysReplacesThem) {
  temp_.Write("generation_config.json", R"({"num_inference_steps": 20, "true_cfg_scale": 2.5})");
  ASSERT_TRUE(Read().ok());
  EXPECT_EQ(model_.defaults().steps(), 20);
  EXPECT_EQ(model_.defaults().true_cfg_scale(), 2.5);
  EXPECT_EQ(model_.defaults().guidance_scale(), 1);
  EXPECT_EQ(model_.defaults().strength(), 0.6);
}

TEST_F(GenerationDefaultsTest, WrongAndUnknownFieldsAreNamed) {
  temp_.Write("generation_config.json",
              R"({"num_inference_steps": 101, "true_cfg_scale": 0.5, "strength": 2, "steps": 3})");
  const absl::Status status = Read();
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("generation_config.json: "),
                    HasSubstr("num_inference_steps is 101; it must be an integer from 1 to 100"),
                    HasSubstr("true_cfg_scale is 0.5; it must be a number from 1 to 30"),
                    HasSubstr("strength is 2"), HasSubstr("steps is not a known field")));
}

}  // namespace
}  // namespace darkroom
