#pragma once

#include <cstdint>
#include <vector>

#include "simulator/policy.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

struct Outage {
  int gpu = 0;
  int64_t from_ns = 0;
  int64_t until_ns = 0;
};

struct SimulationOptions {
  // Each job's true work differs from what is predicted by a factor that is drawn once, of this
  // relative deviation, within 2.5 of them.
  double cost_error = 0.0;
  uint64_t seed = 1;
  std::vector<Outage> outages;
  // Steps that a job loses when its accelerator does: back to its last checkpoint.
  int checkpoint_steps = 10;
  LoadMode load_mode = LoadMode::kOwn;
  // World::peer_knee_milli_units.
  int64_t peer_knee_milli_units = kPeerKneeMilliUnits;
  // Measures each decision by the process's clock.
  bool time_decisions = false;
};

struct SimulationResult {
  std::vector<JobState> states;  // as Workload::jobs
  int64_t end_ns = 0;
  int64_t busy_ns = 0;  // all accelerators together
  int64_t quanta = 0;
  int64_t model_loads = 0;
  int64_t adapter_loads = 0;
  std::vector<int64_t> decision_ns;  // if timed
};

// Every accelerator in turn is lost once for so long, evenly over the time in which jobs arrive.
std::vector<Outage> OutagesInTurn(const Workload& workload, int64_t for_ns);

// Runs the workload to its end under the policy. The same arguments give the same result.
SimulationResult Simulate(const Workload& workload, Policy& policy,
                          const SimulationOptions& options);

}  // namespace darkroom::simulator
