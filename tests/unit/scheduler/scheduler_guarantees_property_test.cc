// The guarantees of docs/scheduling.md on random traces, shrunk where one breaks.
// DARKROOM_TRACES sets how many (default 2,000), DARKROOM_FIRST_TRACE where they begin.

#include <cstdlib>
#include <string>

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

void ExpectAllHold(Trace (*make)(uint64_t)) {
  const uint64_t first = FromEnvironment("DARKROOM_FIRST_TRACE", 1);
  const uint64_t count = FromEnvironment("DARKROOM_TRACES", 2000);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const Trace trace = make(seed);
    const std::string broken = RunTrace(trace);
    if (broken.empty()) continue;
    const Trace smaller = Shrink(trace);
    FAIL() << "trace " << seed << " breaks " << broken << "\nshrunk, " << RunTrace(smaller) << "\n"
           << Describe(smaller);
  }
}

TEST(SchedulerGuaranteesTest, HoldOnRandomTraces) { ExpectAllHold(RandomTrace); }

TEST(SchedulerGuaranteesTest, HoldWithGangs) { ExpectAllHold(RandomGangTrace); }

TEST(SchedulerGuaranteesTest, HoldWhereWeightsComeAndGo) {
  const uint64_t first = FromEnvironment("DARKROOM_FIRST_TRACE", 1);
  const uint64_t count = FromEnvironment("DARKROOM_TRACES", 2000);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const ResidencyTrace trace = RandomResidencyTrace(seed);
    const std::string broken = RunResidencyTrace(trace);
    if (broken.empty()) continue;
    const ResidencyTrace smaller = ShrinkResidency(trace);
    FAIL() << "trace " << seed << " breaks " << broken << "\nshrunk, " << RunResidencyTrace(smaller)
           << "\n"
           << DescribeResidency(smaller);
  }
}

TEST(SchedulerGuaranteesTest, BudgetsHold) {
  const uint64_t first = FromEnvironment("DARKROOM_FIRST_TRACE", 1);
  const uint64_t count = FromEnvironment("DARKROOM_TRACES", 2000);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const EscrowTrace trace = RandomEscrowTrace(seed);
    const std::string broken = RunEscrowTrace(trace);
    if (broken.empty()) continue;
    const EscrowTrace smaller = ShrinkEscrow(trace);
    FAIL() << "trace " << seed << " breaks " << broken << "\nshrunk, " << RunEscrowTrace(smaller)
           << "\n"
           << DescribeEscrow(smaller);
  }
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
