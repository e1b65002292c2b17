#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "simulator/weights.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

// Work of a step, in milli-units, up to which others' batches are filled: at 8 pictures of 512x512
// the measured table gives 98% of the throughput that it ever gives.
inline constexpr int64_t kPeerKneeMilliUnits = 8000;

using JobIndex = int32_t;  // into Workload::jobs

struct JobState {
  int32_t steps_done = 0;
  int gpu = -1;               // where it ran last, and its latents are; of a gang the first
  int32_t segments_done = 0;  // of the current step
  bool running = false;
  bool refused = false;
  int64_t first_start_ns = -1;
  // From its arrival until the last quantum of a video ended that ran where it began, staged ones
  // included. -1: it began behind none.
  int64_t behind_video_ns = -1;
  int64_t finished_ns = -1;
};

// Jobs that run together on one accelerator, or on `degree` of them that begin at `gpu`, for one
// step of each, or for `segments` of it.
struct Quantum {
  int gpu = 0;
  int degree = 1;
  int segments = 0;            // 0: the rest of the step
  int64_t delay_ns = 0;        // before it begins, on the same accelerators: to take over latents
  std::vector<Weights> loads;  // before it, while the accelerator waits
  std::vector<JobIndex> jobs;
};

// The simulated cluster as a policy sees it.
struct World {
  const Workload& workload;
  // What the policy is told that a step takes; the truth may differ (cost-model error).
  const StepTable& table;
  int64_t now_ns = 0;
  std::vector<JobState> states;
  std::vector<JobIndex> active;  // arrived, neither finished nor refused; by arrival
  std::vector<bool> busy;        // per accelerator
  std::vector<bool> lost;        // per accelerator
  LoadMode load_mode = LoadMode::kOwn;
  int64_t peer_knee_milli_units = kPeerKneeMilliUnits;

  int32_t StepsLeft(JobIndex job) const {
    return workload.jobs[static_cast<size_t>(job)].steps -
           states[static_cast<size_t>(job)].steps_done;
  }
  // Of the steps left, alone.
  int64_t RemainingNanos(JobIndex job) const {
    return StepsLeft(job) * table.Nanos(workload.jobs[static_cast<size_t>(job)].milli_units);
  }
};

// Decides what runs. Told of everything that happens, in order; asked what to start after each
// event. Ours and our peers' stand behind this one interface.
class Policy {
 public:
  virtual ~Policy() = default;

  virtual std::string_view name() const = 0;
  virtual void OnArrival(const World& world, JobIndex job) {}
  virtual void OnDone(const World& world, const Quantum& quantum, int64_t duration_ns) {}
  virtual void OnGpuLost(const World& world, int gpu) {}
  virtual void OnGpuBack(const World& world, int gpu) {}
  virtual void OnLoaded(const World& world, const WeightLoad& load, int64_t duration_ns) {}
  // When it wants to decide although nothing happens until then, after `world.now_ns`; -1: never.
  // While no job is active it is not asked.
  virtual int64_t WakeAt(const World& world) const { return -1; }
  // Appends the loads that begin now, beside what runs.
  virtual void TakeLoads(std::vector<WeightLoad>& loads) {}
  // Appends what starts now: only jobs that are active and not running, on accelerators that are
  // neither busy nor lost. Refused jobs are appended to `refused`.
  virtual void Decide(const World& world, std::vector<Quantum>& start,
                      std::vector<JobIndex>& refused) = 0;
};

}  // namespace darkroom::simulator
