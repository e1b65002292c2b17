#include "scheduler/forecast.h"

#include <vector>

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMs = 1'000'000;

// A step of up to 100 tokens takes 10 ms.
const CostTable& Cost() {
  static const auto& table = *new CostTable({{Stage::kDenoise, 100, 10 * kMs}});
  return table;
}

ForecastReplica Replica(int slots = 8) { return {1000 * kMs, 100, slots, 8, &Cost()}; }

ForecastJob Job(JobId id, int64_t tokens, double steps) {
  ForecastJob job;
  job.id = id;
  job.tokens = tokens;
  job.steps = steps;
  job.key_ns = static_cast<int64_t>(steps * 10) * kMs;
  job.latest_start_ns = 100'000 * kMs;
  return job;
}

ForecastJob Wanted(ForecastJob job) {
  job.wanted = true;
  return job;
}

TEST(ForecastTest, AloneItBeginsAtOnce) {
  const auto result = RunForecast({Wanted(Job(1, 50, 20))}, {Replica()}, {});
  EXPECT_EQ(result.start_ns, 1000 * kMs);
  EXPECT_EQ(result.end_ns, 1200 * kMs);
}

TEST(ForecastTest, ShorterOnesGoFirstAndLongerOnesDoNot) {
  const auto result =
      RunForecast({Job(1, 100, 5), Job(2, 100, 50), Wanted(Job(3, 100, 20))}, {Replica()}, {});
  EXPECT_EQ(result.start_ns, 1050 * kMs);
  EXPECT_EQ(result.end_ns, 1250 * kMs);
}

TEST(ForecastTest, WhatFitsIntoTheBatchRunsAlong) {
  const auto result =
      RunForecast({Job(1, 60, 5), Job(2, 60, 6), Wanted(Job(3, 40, 20))}, {Replica()}, {});
  EXPECT_EQ(result.start_ns, 1000 * kMs) << "beside the first, where the second finds no room";
  EXPECT_EQ(result.end_ns, 1200 * kMs);
}

TEST(ForecastTest, StagesAroundDenoisingCount) {
  ForecastJob first = Job(1, 100, 2);
  first.before_ns = 3 * kMs;
  first.after_ns = 4 * kMs;
  ForecastJob second = Wanted(Job(2, 100, 5));
  second.after_ns = 7 * kMs;
  const auto result = RunForecast({first, second}, {Replica()}, {});
  EXPECT_EQ(result.start_ns, 1027 * kMs);
  EXPECT_EQ(result.end_ns, 1084 * kMs);
}

TEST(ForecastTest, SeveralReplicasShareWhatWaits) {
  std::vector<ForecastJob> jobs;
  for (JobId id = 1; id <= 6; ++id) jobs.push_back(Job(id, 100, 10));
  jobs.push_back(Wanted(Job(7, 100, 20)));
  const auto result = RunForecast(jobs, {Replica(), Replica(), Replica()}, {});
  EXPECT_EQ(result.start_ns, 1200 * kMs);
}

TEST(ForecastTest, WithoutAFreeSlotItWaitsForOne) {
  ForecastJob resident = Job(1, 10, 30);
  resident.replica = 0;
  const auto result = RunForecast({resident, Wanted(Job(2, 10, 5))}, {Replica(0)}, {});
  EXPECT_EQ(result.start_ns, 1300 * kMs);
}

TEST(ForecastTest, ATenantLeavesSlotsToTheOthers) {
  std::vector<ForecastJob> jobs;
  for (JobId id = 1; id <= 8; ++id) {
    jobs.push_back(Job(id, 100, 30));
    jobs.back().replica = 0;
  }
  ForecastJob wanted = Wanted(Job(9, 100, 5));
  jobs.push_back(wanted);
  EXPECT_EQ(RunForecast(jobs, {Replica(4)}, {}).start_ns, 1300 * kMs) << "it has its eight";
  jobs.back().tenant = 7;
  EXPECT_EQ(RunForecast(jobs, {Replica(4)}, {}).start_ns, 1000 * kMs);
}

TEST(ForecastTest, TheLateComeAfterTheFeasible) {
  ForecastJob late = Wanted(Job(1, 100, 5));
  late.latest_start_ns = 900 * kMs;
  const auto result = RunForecast({late, Job(2, 100, 30)}, {Replica()}, {});
  EXPECT_EQ(result.start_ns, 1300 * kMs);
  EXPECT_TRUE(result.late);
}

TEST(ForecastTest, OneThatBecomesLateWhileItWaitsIsPassedBy) {
  ForecastJob wanted = Wanted(Job(1, 100, 10));
  wanted.latest_start_ns = 1040 * kMs;
  const auto result = RunForecast({Job(2, 100, 5), wanted, Job(3, 100, 30)}, {Replica()}, {});
  EXPECT_EQ(result.start_ns, 1350 * kMs);
}

TEST(ForecastTest, UnprotectedTenantsComeLastWhereSharesComeFirst) {
  ForecastJob wanted = Wanted(Job(1, 100, 5));
  wanted.is_protected = false;
  ForecastJob late = Job(2, 100, 30);
  late.latest_start_ns = 0;
  EXPECT_EQ(RunForecast({wanted, late}, {Replica()}, {Priority::kStrict}).start_ns, 1300 * kMs);
  EXPECT_EQ(RunForecast({wanted, late}, {Replica()}, {Priority::kGoodput}).start_ns, 1000 * kMs);
}

TEST(ForecastTest, ATenantsOwnLimitIsToldApart) {
  ForecastJob own = Job(1, 10, 30);
  own.replica = 0;
  const auto result =
      RunForecast({own, Wanted(Job(2, 10, 5))}, {Replica()}, {Priority::kStrict, 0});
  EXPECT_EQ(result.start_ns, 1300 * kMs);
  EXPECT_TRUE(result.by_tenant_slots);
}

TEST(ForecastTest, ExclusiveJobsShareNoBatch) {
  ForecastJob other = Job(1, 10, 10);
  other.tenant = 1;
  ForecastJob wanted = Wanted(Job(2, 10, 20));
  wanted.tenant = 2;
  wanted.exclusive = true;
  EXPECT_EQ(RunForecast({other, wanted}, {Replica()}, {}).start_ns, 1100 * kMs);
}

TEST(ForecastTest, SeveralWantedBeginWithTheFirstAndEndWithTheLast) {
  const auto result = RunForecast(
      {Wanted(Job(1, 100, 10)), Wanted(Job(2, 100, 10)), Job(3, 100, 90)}, {Replica()}, {});
  EXPECT_EQ(result.start_ns, 1000 * kMs);
  EXPECT_EQ(result.end_ns, 1200 * kMs);
}

TEST(ForecastTest, WithoutAReplicaNothingIsKnown) {
  const auto result = RunForecast({Wanted(Job(1, 100, 10))}, {}, {});
  EXPECT_EQ(result.start_ns, kNoDeadline);
  EXPECT_EQ(result.end_ns, kNoDeadline);
}

TEST(ForecastTest, PlaysToTheEndWhenNobodyIsWanted) {
  EXPECT_EQ(RunForecast({Job(1, 100, 10), Job(2, 100, 20)}, {Replica()}, {}).all_done_ns,
            1300 * kMs);
}

}  // namespace
}  // namespace darkroom::scheduler
