// Breaks each rule of the policy on purpose and expects the checks to notice: what no check catches
// no check guards. This test links a build of the scheduler of its own (mutation.h).

#include <string>

#include "escrow_trace.h"
#include "gtest/gtest.h"
#include "residency_trace.h"
#include "scheduler/mutation.h"
#include "scheduler_pressure.h"
#include "scheduler_trace.h"

namespace darkroom::scheduler {
namespace {

constexpr uint64_t kTraces = 200;

std::string FirstBreach() {
  for (uint64_t seed = 1; seed <= kTraces; ++seed) {
    std::string broken = RunTrace(RandomTrace(seed));
    if (broken.empty()) broken = RunTrace(RandomGangTrace(seed));
    if (broken.empty() && seed <= 5) broken = RunSharesTrace(seed);
    if (broken.empty()) broken = RunEscrowTrace(RandomEscrowTrace(seed));
    if (broken.empty()) broken = RunResidencyTrace(RandomResidencyTrace(seed));
    if (broken.empty() && seed <= 5) broken = RunReserveTrace(seed);
    if (broken.empty() && seed <= 5) broken = RunTurnTrace(seed);
    if (!broken.empty()) return broken;
  }
  return "";
}

struct Mutant {
  Rule rule;
  const char* caught_as;  // how the breach begins, "" for nothing broken
};

class MutationTest : public ::testing::TestWithParam<Mutant> {
 protected:
  void TearDown() override { broken_rule = Rule::kNone; }
};

TEST_P(MutationTest, IsCaught) {
  broken_rule = GetParam().rule;
  const std::string breach = FirstBreach();
  EXPECT_EQ(breach.substr(0, breach.find(':')), GetParam().caught_as) << breach;
}

INSTANTIATE_TEST_SUITE_P(
    Rules, MutationTest,
    ::testing::Values(Mutant{Rule::kNone, ""}, Mutant{Rule::kWorkConserving, "G1"},
                      Mutant{Rule::kLagGate, "G2"}, Mutant{Rule::kNoBankedCredit, "G3"},
                      // Taking more than fits shows at the first dispatch, before a deadline does.
                      Mutant{Rule::kTimeline, "G6"}, Mutant{Rule::kReserve, "G5"},
                      Mutant{Rule::kGuaranteedFirst, "G6"}, Mutant{Rule::kExactCharges, "G7"},
                      Mutant{Rule::kBudget, "G8"}, Mutant{Rule::kReservation, "G8"},
                      Mutant{Rule::kRelease, "G8"}, Mutant{Rule::kOwnSequence, "G9"},
                      Mutant{Rule::kPure, "G10"}, Mutant{Rule::kIsolation, "isolation"},
                      Mutant{Rule::kMemberDeadlines, "members"}, Mutant{Rule::kMoveBits, "G11"},
                      Mutant{Rule::kMoveBetween, "G11"}, Mutant{Rule::kResidentOnly, "G12"},
                      Mutant{Rule::kPinnedWeights, "G12"}, Mutant{Rule::kWeightsMemory, "G12"},
                      Mutant{Rule::kWeightsStay, "G13"}, Mutant{Rule::kWeightsTurn, "G14"},
                      Mutant{Rule::kRevokedFree, "revocation"}, Mutant{Rule::kRevokedStep, "G9"},
                      Mutant{Rule::kGangBound, "G1"}, Mutant{Rule::kGangCharges, "G7"},
                      Mutant{Rule::kGangIdle, "gang"}, Mutant{Rule::kGangSmallest, "degree"},
                      Mutant{Rule::kGuaranteedAlone, "G6"}));

}  // namespace
}  // namespace darkroom::scheduler
