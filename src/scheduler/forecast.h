#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/cost_table.h"
#include "scheduler/policy_config.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// Plays the policy forward from a snapshot, to tell when jobs will start and end if nothing else
// comes. Packed batches, slots, lanes and the passing of deadlines are the policy's; the reserve
// share and the staged plan's early choice are left out.

// A job as it is now.
struct ForecastJob {
  JobId id = 0;
  TenantId tenant = 0;
  bool is_protected = true;
  bool exclusive = false;  // shares no batch with other tenants
  int64_t key_ns = 0;      // what is left of it, alone: its place within a lane
  int64_t latest_start_ns = 0;
  int64_t tokens = 1;     // of one denoising step
  double steps = 0;       // denoising steps left
  int64_t before_ns = 0;  // stages left before denoising, alone
  int64_t after_ns = 0;   // and after it
  int replica = -1;       // index of the replica that it is bound to; -1: it waits for any
  bool wanted = false;    // when it ends is asked for
};

struct ForecastReplica {
  int64_t busy_until_ns = 0;  // of the plans that it has
  int64_t tokens_max = 0;     // of one step
  int slots = 0;              // free ones
  int slots_per_tenant = 0;   // that one tenant may hold, free or not
  const CostTable* cost = nullptr;
};

struct ForecastLimits {
  Priority priority = Priority::kStrict;
  // Of the tenant of the wanted jobs: how many more of those that wait may run at once; below 0:
  // any number.
  int64_t tenant_slots = -1;
};

struct ForecastResult {
  // Of the wanted jobs: when the first begins, and when the last ends. kNoDeadline: never, since
  // nothing can run them.
  int64_t start_ns = kNoDeadline;
  int64_t end_ns = kNoDeadline;
  // When all that was given is done, if that was played to its end.
  int64_t all_done_ns = kNoDeadline;
  bool late = false;             // the first could no longer be in time when it began
  bool by_tenant_slots = false;  // one of them was passed over only because of `tenant_slots`
};

// Stops once every wanted job has ended; without any it plays to the end. Time: jobs *
// kCandidatesMax in the worst case.
ForecastResult RunForecast(std::vector<ForecastJob> jobs, std::vector<ForecastReplica> replicas,
                           const ForecastLimits& limits);

}  // namespace darkroom::scheduler
