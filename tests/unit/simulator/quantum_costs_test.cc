#include "simulator/quantum_costs.h"

#include "gtest/gtest.h"

namespace darkroom::simulator {
namespace {

using scheduler::Stage;

TEST(QuantumCostsTest, AProfileIsInterpolatedAndCorrected) {
  QuantumCosts costs;
  costs.SetProfile({{Stage::kDenoise, 100, 1000}, {Stage::kDenoise, 300, 5000}});
  EXPECT_EQ(costs.Nanos(Stage::kDenoise, 50), 1000) << "a launch costs what it costs";
  EXPECT_EQ(costs.Nanos(Stage::kDenoise, 200), 3000);
  EXPECT_EQ(costs.Nanos(Stage::kDenoise, 600), 10'000);
  costs.Observe(Stage::kDenoise, 200, 4500);
  costs.Observe(Stage::kDenoise, 300, 7500);
  EXPECT_EQ(costs.Nanos(Stage::kDenoise, 100), 1500);
  EXPECT_EQ(costs.Nanos(Stage::kEncode, 1), 1) << "nothing is known of it";
}

TEST(QuantumCostsTest, WithoutAProfileWhatWasSeenCounts) {
  QuantumCosts costs;
  costs.Observe(Stage::kDecode, 4, 100);
  costs.Observe(Stage::kDecode, 4, 300);
  costs.Observe(Stage::kDecode, 16, 800);
  EXPECT_EQ(costs.Nanos(Stage::kDecode, 4), 200);
  EXPECT_EQ(costs.Nanos(Stage::kDecode, 10), 500);
  EXPECT_EQ(costs.Nanos(Stage::kDecode, 1), 200);
  EXPECT_EQ(costs.Nanos(Stage::kDecode, 32), 1600);
}

TEST(QuantumCostsTest, PointsThatDescendOrAreNotPositiveAreMended) {
  QuantumCosts costs;
  costs.SetProfile({{Stage::kDenoise, 0, 10},
                    {Stage::kDenoise, 10, -5},
                    {Stage::kDenoise, 20, 500},
                    {Stage::kDenoise, 40, 400}});
  EXPECT_EQ(costs.Nanos(Stage::kDenoise, 5), 500);
  EXPECT_EQ(costs.Nanos(Stage::kDenoise, 40), 500);
}

}  // namespace
}  // namespace darkroom::simulator
