#include "evaluation/unit_projection.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/reference_ops.h"
#include "testing/temp_folder.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

TEST(UnitProjectionTest, ProjectsAndKeepsOnlyTheDirection) {
  const testing::TempFolder folder;
  folder.Write("config.json", R"({"_class_name": "X"})");
  folder.Write("model.safetensors",
               testing::SafetensorsBytes({{"p.weight", {{2, 3}, {1, 0, 1, 0, 2, 0}}}}));
  auto opened = ModelFolder::Open(folder.path(), ModelFolder::kConfigFile);
  ASSERT_TRUE(opened.ok()) << opened.status();
  auto weights = Weights::Open(*opened, "", kTransformersWeights);
  ASSERT_TRUE(weights.ok()) << weights.status();
  UnitProjection projection(*weights, "p", 2, 3);
  ASSERT_TRUE(weights->Check().ok()) << weights->Check();
  testing::ReferenceOps ops;
  const auto stream = ops.CreateStream();
  ASSERT_TRUE(projection.Load(ops, *stream).ok());
  const std::vector<float> x = {1, 2, 2};  // to (3, 4)
  for (int repeat = 0; repeat < 2; ++repeat) {
    const auto out = projection.Apply(x, *stream);
    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_THAT(*out, ElementsAre(FloatNear(0.6f, 1e-6f), FloatNear(0.8f, 1e-6f)));
  }
  EXPECT_THAT(*projection.Apply(std::vector<float>{0, 0, 0}, *stream), ElementsAre(0, 0));
}

TEST(UnitProjectionTest, NormalizeMakesLengthOne) {
  std::vector<float> vector = {3, 0, -4};
  Normalize(absl::MakeSpan(vector));
  EXPECT_THAT(vector, ElementsAre(0.6f, 0.0f, -0.8f));
}

}  // namespace
}  // namespace darkroom
