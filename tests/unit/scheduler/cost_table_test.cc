#include "scheduler/cost_table.h"

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

TEST(CostTableTest, IsAStepFunctionAndGrowsBeyondTheProfile) {
  const CostTable table({{Stage::kDenoise, 64, 1000}, {Stage::kDenoise, 128, 1500}});
  EXPECT_EQ(table.Predict(Stage::kDenoise, 1), 1000);
  EXPECT_EQ(table.Predict(Stage::kDenoise, 64), 1000);
  EXPECT_EQ(table.Predict(Stage::kDenoise, 65), 1500);
  EXPECT_EQ(table.Predict(Stage::kDenoise, 256), 3000);
}

TEST(CostTableTest, FollowsWhatIsMeasured) {
  CostTable table({{Stage::kDenoise, 64, 1000}});
  for (int i = 0; i < 100; ++i) table.Observe(Stage::kDenoise, 64, 3000);
  EXPECT_NEAR(static_cast<double>(table.Predict(Stage::kDenoise, 64)), 3000, 10);
  // One stalled quantum moves it, but not far out of reach.
  table.Observe(Stage::kDenoise, 64, 3'000'000'000'000);
  for (int i = 0; i < 100; ++i) table.Observe(Stage::kDenoise, 64, 3000);
  EXPECT_NEAR(static_cast<double>(table.Predict(Stage::kDenoise, 64)), 3000, 100);
}

TEST(CostTableTest, GuessesWithoutAProfile) {
  const CostTable table({});
  EXPECT_GT(table.Predict(Stage::kDecode, 256), table.Predict(Stage::kDecode, 64));
}

TEST(CostTableTest, IgnoresCostsThatAreNone) {
  const CostTable table({{Stage::kDenoise, 64, 0},
                         {Stage::kDenoise, 0, 10},
                         {Stage::kDenoise, 128, -5},
                         {Stage::kDenoise, 256, 700},
                         {Stage::kDenoise, 512, 600}});
  EXPECT_EQ(table.Predict(Stage::kDenoise, 64), 700);
  EXPECT_EQ(table.Predict(Stage::kDenoise, 512), 700);  // never faster for more
}

}  // namespace
}  // namespace darkroom::scheduler
