#include "scheduler/token_bucket.h"

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(TokenBucketTest, LetsTheBurstThroughThenTheRate) {
  TokenBucket bucket(2.0, 3.0, 0);
  EXPECT_TRUE(bucket.Take(0));
  EXPECT_TRUE(bucket.Take(0));
  EXPECT_TRUE(bucket.Take(0));
  EXPECT_FALSE(bucket.Take(0));
  EXPECT_EQ(bucket.Wait(0), kSecond / 2);
  EXPECT_FALSE(bucket.Take(kSecond / 4));
  EXPECT_TRUE(bucket.Take(kSecond / 2));
}

TEST(TokenBucketTest, NeverHoldsMoreThanTheBurst) {
  TokenBucket bucket(1.0, 2.0, 0);
  int taken = 0;
  while (bucket.Take(1000 * kSecond)) ++taken;
  EXPECT_EQ(taken, 2);
}

TEST(TokenBucketTest, AClockThatStandsStillOrJumpsBackGivesNothing) {
  TokenBucket bucket(1.0, 1.0, 10 * kSecond);
  EXPECT_TRUE(bucket.Take(10 * kSecond));
  EXPECT_FALSE(bucket.Take(10 * kSecond));
  EXPECT_FALSE(bucket.Take(0));
  EXPECT_FALSE(bucket.Take(10 * kSecond));
  EXPECT_TRUE(bucket.Take(11 * kSecond));
}

}  // namespace
}  // namespace darkroom::scheduler
