#pragma once

#include <string>
#include <vector>

#include "simulator/metrics.h"

namespace darkroom::simulator {

struct Experiment {
  std::string workload;
  std::string policy;
  int gpus = 8;
  double load = 0.9;
  std::vector<RunMetrics> runs;  // one per seed
};

// One JSON object: means over the seeds, attainment with its 95% interval.
std::string ToJson(const Experiment& experiment);

}  // namespace darkroom::simulator
