#include "model/linear_source.h"

#include "device/cpu/cpu_ops.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/temp_folder.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

class LinearSourceTest : public ::testing::Test {
 protected:
  LinearSourceTest() {
    folder_.Write("model_index.json", R"({"_class_name": "X"})");
    folder_.Write("unit/diffusion_pytorch_model.safetensors",
                  testing::SafetensorsBytes({{"a.weight", {{2, 3}, {1, 2, 3, 4, 5, 6}}},
                                             {"a.bias", {{2}, {1, 2}}},
                                             {"b.weight", {{1, 3}, {7, 8, 9}}}}));
  }
  Weights Open() {
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    return *Weights::Open(*folder, "unit");
  }

  testing::TempFolder folder_;
  std::unique_ptr<Ops> ops_ = CreateCpuOps(1);
};

TEST_F(LinearSourceTest, TakesWeightAndBias) {
  Weights weights = Open();
  const LinearSource a = TakeLinear(weights, "a", 2, 3);
  const LinearSource b = TakeLinear(weights, "b", 1, 3, /*bias=*/false);
  EXPECT_TRUE(weights.Check().ok()) << weights.Check();
  EXPECT_TRUE(a.bias);
  EXPECT_FALSE(b.bias);
}

TEST_F(LinearSourceTest, WhatIsMissingIsReportedWithTheRest) {
  Weights weights = Open();
  TakeLinear(weights, "a", 2, 4);
  TakeLinear(weights, "b", 1, 3);
  const std::string message(weights.Check().message());
  EXPECT_THAT(message, HasSubstr("a.weight"));
  EXPECT_THAT(message, HasSubstr("b.bias"));
}

TEST_F(LinearSourceTest, RowsLieOneBelowTheOther) {
  Weights weights = Open();
  const LinearSource a = TakeLinear(weights, "a", 2, 3, /*bias=*/false);
  const LinearSource b = TakeLinear(weights, "b", 1, 3, /*bias=*/false);
  std::unique_ptr<LinearWeight> both;
  std::unique_ptr<LinearWeight> one;
  const absl::Status status = PackAll({{&both, {a, b}}, {&one, {b}}}, DType::kF32, *ops_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(both->out_features(), 3);
  EXPECT_EQ(both->in_features(), 3);
  EXPECT_EQ(one->out_features(), 1);
}

}  // namespace
}  // namespace darkroom
