// The guarantees of docs/scheduling.md on random traces, shrunk where one breaks.
// DARKROOM_TRACES sets how many (default 2,000), DARKROOM_FIRST_TRACE where they begin.

#include <cstdlib>
#include <string>
#include <vector>

#include "escrow_trace.h"
#include "gtest/gtest.h"
#include "residency_trace.h"
#include "scheduler_pressure.h"
#include "scheduler_trace.h"

namespace darkroom::scheduler {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// Runs the traces that broke something once, then as many as asked for.
template <typename T>
void ExpectAllHold(T (*make)(uint64_t), std::string (*run)(const T&), T (*shrink)(T),
                   std::string (*describe)(const T&), std::vector<uint64_t> seeds) {
  const uint64_t first = FromEnvironment("DARKROOM_FIRST_TRACE", 1);
  const uint64_t count = FromEnvironment("DARKROOM_TRACES", 2000);
  const size_t known = seeds.size();
  for (uint64_t i = 0; i < known + count; ++i) {
    const uint64_t seed = i < known ? seeds[i] : first + i - known;
    const T trace = make(seed);
    const std::string broken = run(trace);
    if (broken.empty()) continue;
    const T smaller = shrink(trace);
    FAIL() << "trace " << seed << " breaks " << broken << "\nshrunk, " << run(smaller) << "\n"
           << describe(smaller);
  }
}

TEST(SchedulerGuaranteesTest, HoldOnRandomTraces) {
  ExpectAllHold(RandomTrace, RunTrace, Shrink, Describe, {});
}

TEST(SchedulerGuaranteesTest, HoldWithGangs) {
  ExpectAllHold(RandomGangTrace, RunTrace, Shrink, Describe, {42330});
}

TEST(SchedulerGuaranteesTest, HoldWhereWeightsComeAndGo) {
  ExpectAllHold(RandomResidencyTrace, RunResidencyTrace, ShrinkResidency, DescribeResidency,
                {2923});
}

TEST(SchedulerGuaranteesTest, BudgetsHold) {
  ExpectAllHold(RandomEscrowTrace, RunEscrowTrace, ShrinkEscrow, DescribeEscrow, {});
}

TEST(SchedulerGuaranteesTest, HoldUnderPressure) {
  const uint64_t first = FromEnvironment("DARKROOM_FIRST_TRACE", 1);
  const uint64_t count = FromEnvironment("DARKROOM_TRACES", 2000) / 50 + 1;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    ASSERT_EQ(RunSharesTrace(seed), "") << "trace " << seed;
    ASSERT_EQ(RunTurnTrace(seed), "") << "trace " << seed;
    ASSERT_EQ(RunReserveTrace(seed), "") << "trace " << seed;
  }
}

}  // namespace
}  // namespace darkroom::scheduler
