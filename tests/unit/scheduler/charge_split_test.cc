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

}  // namespace
}  // namespace darkroom::scheduler
