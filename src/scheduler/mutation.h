#pragma once

#include <cstdint>

namespace darkroom::scheduler {

// Rules of the policy that the tests break on purpose, one at a time, to see that each is caught.
enum class Rule : uint8_t {
  kNone,
  kWorkConserving,   // G1
  kLagGate,          // G2
  kNoBankedCredit,   // G3
  kTimeline,         // G4
  kReserve,          // G5
  kGuaranteedFirst,  // G6
  kExactCharges,     // G7
  kOwnSequence,      // G9
  kPure,             // G10
  kBudget,           // G8: no reservation beyond the budget
  kReservation,      // G8: no charge beyond the reservation
  kRelease,          // G8: what is left of a reservation is free again
  kIsolation,
  kMemberDeadlines,
  kMoveBits,         // G11: only to equal bits
  kMoveBetween,      // G11: only between two steps
  kResidentOnly,     // G12: a batch's weights are there
  kPinnedWeights,    // G12: weights in use stay
  kWeightsMemory,    // G12: within the memory
  kWeightsStay,      // G13: as long as kStayPerLoad says
  kWeightsTurn,      // G14: everybody's weights get their turn
  kRevokedFree,      // a plan that was taken back costs its tenants nothing
  kRevokedStep,      // its jobs go on from where they were before it
  kGangBound,        // G1: a gang that forms waits for a bounded time
  kGangCharges,      // G7: with helpers' time
  kGangIdle,         // only what is idle helps
  kGangSmallest,     // no wider than its deadline asks while others wait
  kGuaranteedAlone,  // G6: what has guarantees helps nobody
};

// Only the tests' own build of this layer can break a rule; in the product the answer is a
// constant.
#ifdef DARKROOM_MUTABLE_SCHEDULER
inline Rule broken_rule = Rule::kNone;
inline bool Broken(Rule rule) { return broken_rule == rule; }
// A number that depends on what ran before, if purity is broken.
inline int64_t Impurity() {
  static int64_t calls = 0;
  return Broken(Rule::kPure) ? ++calls % 3 : 0;
}
#else
inline constexpr bool Broken(Rule) { return false; }
inline constexpr int64_t Impurity() { return 0; }
#endif

}  // namespace darkroom::scheduler
