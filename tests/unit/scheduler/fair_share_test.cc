#include "scheduler/fair_share.h"

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

TEST(FairShareTest, WeightDividesTheCharge) {
  FairShare fair;
  fair.SetWeight(1, 2.0);
  fair.AddJob(1);
  fair.AddJob(2);
  fair.Charge(1, 1000);
  fair.Charge(2, 1000);
  EXPECT_DOUBLE_EQ(fair.VirtualTime(1), 500);
  EXPECT_DOUBLE_EQ(fair.VirtualTime(2), 1000);
}

// G3: time spent away earns no credit.
TEST(FairShareTest, ComesBackAtTheLeastActiveVirtualTime) {
  FairShare fair;
  fair.AddJob(1);
  fair.AddJob(2);
  fair.Charge(1, 1000);
  fair.Charge(2, 5000);
  fair.AddJob(3);
  EXPECT_DOUBLE_EQ(fair.VirtualTime(3), 1000);
  // Nor does it lose what it has used.
  fair.RemoveJob(2);
  fair.AddJob(2);
  EXPECT_DOUBLE_EQ(fair.VirtualTime(2), 5000);
}

TEST(FairShareTest, AnIdleServerForgetsNothing) {
  FairShare fair;
  fair.AddJob(1);
  fair.Charge(1, 7000);
  fair.RemoveJob(1);
  fair.AddJob(2);
  EXPECT_DOUBLE_EQ(fair.VirtualTime(2), 7000);
}

TEST(FairShareTest, ProtectsWhoIsWithinTheBurstCredit) {
  FairShare fair(1000);
  std::vector<TenantId> changed;
  fair.AddJob(1);
  fair.AddJob(2);
  fair.TakeChanges(changed);
  fair.Charge(1, 1000);
  EXPECT_TRUE(fair.Protected(1));
  fair.Charge(1, 1);
  EXPECT_FALSE(fair.Protected(1));
  fair.TakeChanges(changed);
  EXPECT_EQ(changed, (std::vector<TenantId>{1}));
  fair.Charge(2, 500);  // the least served catches up, so that the gate moves
  EXPECT_TRUE(fair.Protected(1));
  EXPECT_DOUBLE_EQ(fair.LeastVirtualTime(), 500);
  // Alone nobody is ahead of anybody.
  fair.Charge(1, 100'000);
  EXPECT_FALSE(fair.Protected(1));
  fair.RemoveJob(2);
  EXPECT_TRUE(fair.Protected(1));
}

}  // namespace
}  // namespace darkroom::scheduler
