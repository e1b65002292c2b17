#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "simulator/step_table.h"

namespace darkroom::simulator {

// A picture that somebody wants by some time.
struct WorkJob {
  uint32_t request = 0;
  uint32_t tenant = 0;
  uint32_t model = 0;
  uint32_t adapter = 0;        // 0: none
  int32_t shape = 0;           // pixels along one side; names its class in reports
  int32_t request_jobs = 1;    // pictures of its request
  int64_t milli_units = 1000;  // work of one step, by StepTable
  int32_t steps = 1;
  int32_t segments = 1;  // of one step
  int64_t arrival_ns = 0;
  int64_t deadline_ns = 0;
  int64_t solo_ns = 0;  // all its steps alone, at the degree that makes them fastest
  bool flood = false;   // of the tenant that floods
};

// What a simulation runs, and on what.
struct Workload {
  std::string name;
  std::vector<WorkJob> jobs;  // by arrival
  int gpus = 8;
  uint32_t tenants = 1;
  // Base models that an accelerator has room for; 0: all weights are everywhere.
  int gpu_models = 0;
  StepTable table = StepTable::MeasuredH200();
};

}  // namespace darkroom::simulator
