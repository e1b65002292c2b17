#include "scheduler/cost_error.h"

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

TEST(CostErrorTest, IsTheNinetyNinthPercentileOfWholeJobs) {
  CostError error;
  EXPECT_DOUBLE_EQ(error.Epsilon(), 0.05);
  for (int i = 0; i < 1000; ++i) error.Add(1000 + i / 5, 1000);  // up to 20% over
  EXPECT_NEAR(error.Epsilon(), 0.2, 1.0 / 64);
}

TEST(CostErrorTest, IsNothingWherePredictionsHold) {
  CostError error;
  for (int i = 0; i < 1000; ++i) error.Add(900, 1000);
  EXPECT_DOUBLE_EQ(error.Epsilon(), 0.0);
}

TEST(CostErrorTest, ForgetsWhatIsLongAgo) {
  CostError error;
  for (int i = 0; i < 10'000; ++i) error.Add(1900, 1000);
  EXPECT_GT(error.Epsilon(), 0.8);
  for (int i = 0; i < 100'000; ++i) error.Add(1000, 1000);
  EXPECT_LT(error.Epsilon(), 0.02);
}

TEST(CostErrorTest, WhatTookNothingCountsNothing) {
  CostError error;
  for (int i = 0; i < 1000; ++i) error.Add(0, 1000);
  for (int i = 0; i < 1000; ++i) error.Add(1000, 0);
  EXPECT_DOUBLE_EQ(error.Epsilon(), 0.05);
}

}  // namespace
}  // namespace darkroom::scheduler
