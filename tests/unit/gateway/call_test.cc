#include "gateway/call.h"

#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gateway/call_gate.h"
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

TEST(CallGateTest, RefusesBeyondItsBoundWithARetryTime) {
  CallGate gate(2);
  auto first = gate.Enter();
  auto second = gate.Enter();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*first)->tenant, "local");
  const auto third = gate.Enter();
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(third.status()), "CALLS_TOO_MANY");
  EXPECT_TRUE(third.status().GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  EXPECT_TRUE(third.status().GetPayload("type.googleapis.com/google.rpc.QuotaFailure"));
  first->reset();
  EXPECT_TRUE(gate.Enter().ok());
}

}  // namespace
}  // namespace darkroom
