#include "scheduler/charge_split.h"

#include <limits>
#include <numeric>
#include <random>

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

TEST(SplitExactlyTest, SumsToTheNanosecondAndStaysProportional) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<int64_t> weights(1 + random() % 40);
    for (auto& weight : weights) weight = static_cast<int64_t>(random() % 100000);
    weights[random() % weights.size()] += 1;
    const int64_t total = static_cast<int64_t>(random() % 10'000'000'000);
    const auto shares = SplitExactly(total, weights);
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}), total);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (size_t i = 0; i < weights.size(); ++i) {
      const double exact = static_cast<double>(total) * static_cast<double>(weights[i]) / sum;
      EXPECT_NEAR(static_cast<double>(shares[i]), exact, 1.001);
    }
  }
}

TEST(SplitExactlyTest, DoesNotOverflow) {
  const int64_t year = 365LL * 24 * 3600 * 1'000'000'000;
  const auto shares = SplitExactly(year, {int64_t{1} << 40, int64_t{1} << 40, 1});
  EXPECT_EQ(shares[0] + shares[1] + shares[2], year);
  EXPECT_NEAR(static_cast<double>(shares[0] - shares[1]), 0, 1);
}

TEST(SplitExactlyTest, NothingToSplitOrNobodyToPay) {
  EXPECT_EQ(SplitExactly(100, {0, 0}), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(SplitExactly(0, {1, 2}), (std::vector<int64_t>{0, 0}));
  EXPECT_TRUE(SplitExactly(5, {}).empty());
}

TEST(SplitCappedTest, NobodyPaysMoreThanAloneAndTheSumIsExact) {
  EXPECT_EQ(SplitCapped(100, {1, 1, 2}, {100, 10, 100}), (std::vector<int64_t>{30, 10, 60}));
  // Where the caps are too tight for the total, it is split as if there were none.
  EXPECT_EQ(SplitCapped(100, {1, 1}, {10, 10}), (std::vector<int64_t>{50, 50}));
  // What did not run pays nothing, whatever it was allowed.
  EXPECT_EQ(SplitCapped(60, {1, 0, 1}, {20, 60, 60}), (std::vector<int64_t>{20, 0, 40}));
}

TEST(SplitCappedTest, OnRandomQuanta) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 5000; ++round) {
    std::vector<int64_t> weights;
    std::vector<int64_t> caps;
    int64_t room = 0;
    for (uint64_t i = 0; i <= random() % 8; ++i) {
      weights.push_back(1 + static_cast<int64_t>(random() % 1000));
      caps.push_back(static_cast<int64_t>(random() % 100'000));
      room += caps.back();
    }
    const auto total = static_cast<int64_t>(random() % static_cast<uint64_t>(room + 1));
    const std::vector<int64_t> shares = SplitCapped(total, weights, caps);
    int64_t sum = 0;
    for (size_t i = 0; i < shares.size(); ++i) {
      EXPECT_LE(shares[i], caps[i]);
      EXPECT_GE(shares[i], 0);
      sum += shares[i];
    }
    ASSERT_EQ(sum, total) << "round " << round;
  }
}

}  // namespace
}  // namespace darkroom::scheduler
