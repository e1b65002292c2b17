#include "evaluation/statistics.h"

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(StatisticsTest, OfNoneAndOfOne) {
  for (const auto& of : {&Median, &Percentile95}) {
    EXPECT_EQ(of({}), 0);
    EXPECT_EQ(of({3.5}), 3.5);
  }
  EXPECT_EQ(Mean({}), 0);
}

TEST(StatisticsTest, InAnyOrder) {
  EXPECT_EQ(Median({9, 1, 5}), 5);
  EXPECT_EQ(Median({9, 1, 5, 6}), 5.5);
  EXPECT_EQ(Mean({9, 1, 5}), 5);
}

TEST(StatisticsTest, NineteenOfTwentyDoNotExceedTheP95) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(Percentile95(values), 95);
  values.resize(20);  // 100 down to 81
  EXPECT_EQ(Percentile95(values), 99);
  values.resize(19);  // 100 down to 82: 18 are 94.7%
  EXPECT_EQ(Percentile95(values), 100);
}

}  // namespace
}  // namespace darkroom
