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

TEST(CostErrorTest, GoesOnFromWhatAnEarlierLifeSaw) {
  CostError earlier;
  for (int i = 0; i < 1000; ++i) earlier.Add(1000 + i / 5, 1000);
  CostError error;
  error.Restore(earlier.Counts());
  EXPECT_DOUBLE_EQ(error.Epsilon(), earlier.Epsilon());
  for (int i = 0; i < 500; ++i) {
    error.Add(1500, 1000);
    earlier.Add(1500, 1000);
  }
  EXPECT_DOUBLE_EQ(error.Epsilon(), earlier.Epsilon());
  EXPECT_EQ(error.Counts(), earlier.Counts());
  error.Restore(std::vector<int64_t>(CostError::kBuckets, 0));
  EXPECT_EQ(error.Counts(), CostError().Counts());
}

TEST(CostErrorTest, WhatTookNothingCountsNothing) {
  CostError error;
  for (int i = 0; i < 1000; ++i) error.Add(0, 1000);
  for (int i = 0; i < 1000; ++i) error.Add(1000, 0);
  EXPECT_DOUBLE_EQ(error.Epsilon(), 0.05);
}

}  // namespace
}  // namespace darkroom::scheduler
