#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/types.h"

namespace darkroom::scheduler {

// Replicas that load weights and evict them, under jobs of several models and adapters, losses,
// loads that fail or never end, and a clock that jumps.
struct ResidencyOp {
  enum class Kind { kSubmit, kCancel, kLose, kRemoveTenant, kJump };
  Kind kind = Kind::kSubmit;
  int64_t at_ns = 0;
  JobSpec spec;       // kSubmit; its deadline counts from the submission
  uint64_t pick = 0;  // kCancel, kLose: which of those that there are
};
struct ResidencyTrace {
  uint64_t seed = 0;  // of what loads take, and whether they fail
  std::vector<ReplicaSpec> replicas;
  std::vector<WeightsKnown> weights;
  std::vector<ResidencyOp> ops;
};

// All of it follows from the seed.
ResidencyTrace RandomResidencyTrace(uint64_t seed);

// Runs the trace to its end and checks at every event. What was broken first, as "G12: ...";
// empty: nothing was.
//   G12  What runs, and what is staged, has its weights; weights are within the memory; no weights
//        are evicted that something needs which runs or is staged, nor loaded twice.
//   G13  Weights stay for kStayPerLoad times what loading them is expected to take.
//   G1   Every job ends, is refused or was given up, whatever loads failed.
//   G10  The same events give the same commands.
std::string RunResidencyTrace(const ResidencyTrace& trace);

// A smaller trace that breaks the same guarantee.
ResidencyTrace ShrinkResidency(ResidencyTrace trace);
std::string DescribeResidency(const ResidencyTrace& trace);

// G14: beside a model whose jobs never cease, on a replica that has room for one, a job of another
// model ends within kTurnPerLoad loads, the drain of what runs, and its own load and work.
std::string RunTurnTrace(uint64_t seed);

}  // namespace darkroom::scheduler
