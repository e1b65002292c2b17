#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "scheduler/types.h"

namespace darkroom::simulator {

// When a job came and ended, on the daemon's monotonic clock.
struct JobTimes {
  scheduler::JobId id = 0;
  scheduler::TenantId tenant = 0;
  int32_t steps = 0;
  int64_t arrival_ns = 0;
  int64_t deadline_ns = scheduler::kNoDeadline;
  int64_t finished_ns = -1;  // -1: it was refused or cancelled
  bool refused = false;
};

// What a daemon adds to the work itself, as its log shows. Means, in nanoseconds.
struct DaemonOverheads {
  int64_t commit_ns = 0;  // from a job's admission until it may run: it is made durable
  int64_t start_ns = 0;   // an idle worker: from the plan to the report, less the quantum itself
  int64_t gap_ns = 0;     // the same between two quanta, the second of which was staged
  int64_t media_ns = 0;   // media pool, as start_ns
};

// What the run's own quanta took, beside what the simulation's costs say of the same quanta.
struct StagePace {
  int64_t quanta = 0;
  int64_t actual_ns = 0;
  int64_t expected_ns = 0;
};

struct DaemonRerun {
  std::vector<JobTimes> daemon;     // as they were, by arrival
  std::vector<JobTimes> simulated;  // the same jobs
  DaemonOverheads overheads;
  int64_t quanta = 0;  // from which durations and overheads were learned
  // Of the run itself; nothing of it goes into `simulated`.
  std::array<StagePace, scheduler::kStages> pace;
  // The same again with all quanta longer by one factor: what the run's took in all over what was
  // expected. It tells a machine whose speed drifts from a model that is wrong.
  std::vector<JobTimes> simulated_at_pace;
  DaemonOverheads run_overheads;
};

// The simulator against the daemon. `log` is a daemon's decision log (scheduler/decision_log.h).
// Its first `warmup_jobs` jobs, and what follows until the daemon is idle, are run again as they
// were: the scheduler learns its costs from them, and this what quanta and overheads take. What
// comes then is simulated, from the jobs' arrivals and terms alone: the same scheduler, workers
// whose quanta take what costs predict, and the overheads. A quantum of a profiled stage takes the
// profile at its tokens, interpolated, times the mean ratio of the warm-up's; of any other the mean
// of the warm-up's at its tokens, interpolated.
//
// INVALID_ARGUMENT (WORKLOAD_INVALID) when nothing comes after the warm-up, or a replica came or
// went then; otherwise DecisionReplay's errors.
absl::StatusOr<DaemonRerun> RerunDaemon(std::string_view log, int64_t warmup_jobs);

}  // namespace darkroom::simulator
