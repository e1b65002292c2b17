#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "simulator/gentd26.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

// W1: a stretch of the production trace, compressed in time to a given load.
struct TraceWorkloadOptions {
  int gpus = 8;
  // Work over capacity: .052 s * sum(units * steps) / (gpus * span).
  double load = 0.9;
  // Deadline = arrival + slack * solo time + .5 s.
  double deadline_slack = 3.0;
  int requests = 1500;
  uint32_t tenants = 40;
  // One more tenant sends this share more requests in the middle third; 0: nobody floods.
  double flood = 0.0;
  // Workload::gpu_models; with it, models and the trace's adapters are each job's own.
  int gpu_models = 0;
  StepTable table = StepTable::MeasuredH200();
};

// The same seed gives the same workload, whatever the policy. INVALID_ARGUMENT
// (WORKLOAD_INVALID) for an option out of range or a trace that is too short.
absl::StatusOr<Workload> MakeTraceWorkload(const Trace& trace, const TraceWorkloadOptions& options,
                                           uint64_t seed);

}  // namespace darkroom::simulator
