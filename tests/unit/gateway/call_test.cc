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
  auto first = gate.Enter({});
  auto second = gate.Enter({});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*first)->tenant, "local");
  const auto third = gate.Enter({});
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(third.status()), "CALLS_TOO_MANY");
  EXPECT_TRUE(third.status().GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  EXPECT_TRUE(third.status().GetPayload("type.googleapis.com/google.rpc.QuotaFailure"));
  first->reset();
  EXPECT_TRUE(gate.Enter({}).ok());
}

TEST(CallGateTest, ACallIsItsTenants) {
  const std::vector<std::string> tenants = {"ada", "grace"};
  CallGate gate(1, tenants);
  EXPECT_EQ((*gate.Enter({{"ada"}}))->tenant, "ada");
  EXPECT_EQ((*gate.Enter({{"grace"}}))->tenant, "grace");
  EXPECT_EQ((*gate.Enter({{"local"}}))->tenant, "local");
  EXPECT_EQ((*gate.Enter({}))->tenant, "local");
  for (const char* unknown : {"", "alan", "ADA", "ada ", "ada/../grace"}) {
    const auto call = gate.Enter({{unknown}});
    EXPECT_EQ(call.status().code(), absl::StatusCode::kUnauthenticated) << unknown;
    EXPECT_EQ(ErrorReason(call.status()), "TENANT_UNKNOWN");
    EXPECT_EQ(std::string(call.status().message()),
              "the metadata key darkroom-tenant names no tenant of this server; it must be one "
              "that its configuration names, or be left out for the tenant local");
  }
  const auto twice = gate.Enter(std::vector<std::string>{"ada", "ada"});
  EXPECT_EQ(ErrorReason(twice.status()), "TENANT_KEY_REPEATED");
  EXPECT_EQ(gate.open_calls(), 0) << "a refused call keeps no room";
}

}  // namespace
}  // namespace darkroom
