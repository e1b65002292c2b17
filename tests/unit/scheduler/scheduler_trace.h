#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/policy_config.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// What happens to a scheduler from outside: its replicas, and when who asks for what. Plans take
// what was predicted, times `pace`.
struct TraceOp {
  enum class Kind { kSubmit, kCancel, kLose, kWeight };
  Kind kind = Kind::kSubmit;
  int64_t at_ns = 0;
  JobSpec spec;       // kSubmit; its deadline counts from the submission
  uint64_t pick = 0;  // kCancel, kLose: which of those that there are
  TenantWeight weight;
};
struct Trace {
  PolicyConfig config;
  std::vector<ReplicaSpec> replicas;
  double pace = 1.0;
  std::vector<TraceOp> ops;
};

// What the replica's table says that one quantum takes.
int64_t Cost(const ReplicaSpec& replica, Stage stage, int64_t tokens);

// All of it follows from the seed.
Trace RandomTrace(uint64_t seed);

// The same with replicas that run quanta together.
Trace RandomGangTrace(uint64_t seed);

// Runs the trace to its end and checks every guarantee at every event. What was broken first, as
// "G4: ..."; empty: nothing was.
std::string RunTrace(const Trace& trace);

// A smaller trace that breaks the same guarantee: operations are left out as long as it does.
Trace Shrink(Trace trace);
std::string Describe(const Trace& trace);

}  // namespace darkroom::scheduler
