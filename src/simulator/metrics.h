#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "simulator/simulation.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

// What one run came to. A refused job counts as a miss; times are of jobs that ended.
struct RunMetrics {
  double attainment = 0;                          // share of jobs that ended by their deadlines
  double attainable = 0;                          // share that could be, each alone
  double attainment_work = 0;                     // the same, weighted by their work
  double attainment_requests = 0;                 // requests all of whose pictures were in time
  std::map<int32_t, double> attainment_by_shape;  // by pixels along one side
  std::map<int32_t, double> attainment_by_count;  // by pictures of the request
  double goodput = 0;                             // units of work per second that were in time
  double slowdown_p50 = 0;                        // time in the system over time alone
  double slowdown_p95 = 0;
  double slowdown_p99 = 0;
  // Of tenants that do not flood.
  double attainment_victims = 0;
  double tenant_worst = 0;
  double tenant_worst_decile = 0;  // mean attainment of the worst tenth
  double jain = 0;                 // index of tenants' attainments, 1: all equal
  // What pictures waited for a video's quantum to end, of those that did; 0: none did.
  double behind_video_s_p50 = 0;
  double behind_video_s_p99 = 0;
  int64_t refused = 0;
  double busy = 0;  // share of accelerator time
  double decision_us_p50 = 0;
  double decision_us_p99 = 0;
  double decision_us_max = 0;
};

RunMetrics Measure(const Workload& workload, const SimulationResult& result);

// Mean and 95% confidence interval of the mean, by Student's t.
struct Interval {
  double mean = 0;
  double low = 0;
  double high = 0;
};
Interval MeanInterval(const std::vector<double>& values);

// The value below which a share of the values lies, by nearest rank; 0 without values.
double Percentile(std::vector<double> values, double share);

}  // namespace darkroom::simulator
