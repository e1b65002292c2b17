#include "gateway/call.h"

#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(BudgetTest, NeverExceedsItsBound) {
  Budget budget(10);
  auto first = budget.TryTake(7);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(budget.TryTake(4).has_value());
  EXPECT_TRUE(budget.TryTake(3).has_value());  // and returned at once
  EXPECT_EQ(budget.taken(), 7);
  Budget::Permit moved = *std::move(first);
  first.reset();
  EXPECT_EQ(budget.taken(), 7);
  moved = Budget::Permit();
  EXPECT_EQ(budget.taken(), 0);
  EXPECT_FALSE(budget.TryTake(std::numeric_limits<int64_t>::max()).has_value());
}

TEST(BudgetTest, AwaitsTheLastPermit) {
  Budget budget(100);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([permit = *budget.TryTake(1)] {});
  }
  budget.AwaitNoneTaken();
  EXPECT_EQ(budget.taken(), 0);
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace darkroom
