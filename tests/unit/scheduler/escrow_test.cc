#include "scheduler/escrow.h"

#include <limits>
#include <string>

#include "base/error.h"
#include "gtest/gtest.h"
#include "scheduler/limits.h"

namespace darkroom::scheduler {
namespace {

TEST(EscrowTest, ReservesPaysAndGivesBackWhatIsLeft) {
  Escrow escrow;
  ASSERT_TRUE(escrow.SetBudget(1, 1000).ok());
  ASSERT_TRUE(escrow.Reserve(7, 1, 600).ok());
  EXPECT_EQ(escrow.Left(1), 400);
  EXPECT_EQ(escrow.Charge(7, 250), 250);
  EXPECT_EQ(escrow.Left(1), 400) << "what is charged was reserved before";
  escrow.Release(7, false);
  EXPECT_EQ(escrow.Left(1), 750);
  EXPECT_EQ(escrow.house_ns(), 0);
}

TEST(EscrowTest, ARefusalSaysWhatIsLeftAndWhatFits) {
  Escrow escrow;
  ASSERT_TRUE(escrow.SetBudget(1, 1000).ok());
  // 100 of its 1100 are not steps.
  const absl::Status refused = escrow.Reserve(7, 1, 1100, 20, 50);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(refused), "BUDGET_EXHAUSTED");
  EXPECT_NE(std::string(refused.message()).find("1000 ns of the budget are left"),
            std::string::npos)
      << refused;
  EXPECT_NE(std::string(refused.message()).find("at most 18 steps fit"), std::string::npos)
      << refused;
  EXPECT_TRUE(escrow.Reserve(7, 1, 100 + 18 * 50, 18, 50).ok());
}

TEST(EscrowTest, AnExcessIsTheHouses) {
  Escrow escrow;
  ASSERT_TRUE(escrow.Reserve(7, 1, 100).ok());
  EXPECT_EQ(escrow.Charge(7, 130), 100);
  EXPECT_EQ(escrow.house_ns(), 30);
  EXPECT_EQ(escrow.Charge(8, 5), 0) << "nobody reserved for it";
  escrow.ChargeHouse(10);
  EXPECT_EQ(escrow.house_ns(), 45);
}

TEST(EscrowTest, AFailureOfOursIsTheHousesAndACancellationTheTenants) {
  Escrow escrow;
  ASSERT_TRUE(escrow.Reserve(1, 1, 100).ok());
  ASSERT_TRUE(escrow.Reserve(2, 1, 100).ok());
  escrow.Charge(1, 40);
  escrow.Charge(2, 40);
  escrow.Release(1, true);
  escrow.Release(2, false);
  escrow.Release(2, false);  // told twice
  EXPECT_EQ(escrow.AccountOf(1).charged_ns, 40);
  EXPECT_EQ(escrow.AccountOf(1).reserved_ns, 0);
  EXPECT_EQ(escrow.house_ns(), 40);
  EXPECT_EQ(escrow.reservations(), 0u);
}

TEST(EscrowTest, ABudgetOfNothingLetsNothingRunAndALoweredOneTakesNothingBack) {
  Escrow escrow;
  ASSERT_TRUE(escrow.SetBudget(1, 0).ok());
  EXPECT_EQ(ErrorReason(escrow.Reserve(1, 1, 1)), "BUDGET_EXHAUSTED");
  ASSERT_TRUE(escrow.SetBudget(1, 100).ok());
  ASSERT_TRUE(escrow.Reserve(1, 1, 80).ok());
  ASSERT_TRUE(escrow.SetBudget(1, 10).ok());
  EXPECT_EQ(escrow.Left(1), 0);
  EXPECT_EQ(escrow.Charge(1, 80), 80);
}

TEST(EscrowTest, WhatIsOutOfRangeIsRefused) {
  Escrow escrow;
  for (const double budget : {-1.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(ErrorReason(escrow.SetBudget(1, budget)), "TENANT_BUDGET_INVALID") << budget;
  }
  EXPECT_TRUE(escrow.SetBudget(1, std::numeric_limits<double>::infinity()).ok());
  EXPECT_TRUE(escrow.Reserve(1, 1, kBudgetNanosMax).ok());
  EXPECT_FALSE(escrow.Reserve(2, 1, 1).ok()) << "sums would pass what they hold";
  for (const int64_t cost : {int64_t{0}, int64_t{-5}, kBudgetNanosMax + 1}) {
    EXPECT_EQ(ErrorReason(escrow.Reserve(3, 2, cost)), "JOB_COST_INVALID") << cost;
  }
  EXPECT_EQ(escrow.Charge(1, -5), 0);
}

TEST(EscrowTest, TheWorstCostHoldsTheErrorAndARoundingOfEveryQuantum) {
  EXPECT_EQ(WorstCost(1000, 0.05, 30), 1080);
}

}  // namespace
}  // namespace darkroom::scheduler
