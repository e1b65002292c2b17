#include "simulator/policies/flashps_policy.h"

#include <utility>

#include "simulator/policies/packing.h"

namespace darkroom::simulator {

void FlashPsPolicy::Assign(const World& world, JobIndex job) {
  queues_.resize(static_cast<size_t>(world.workload.gpus));
  size_t best = queues_.size();
  int64_t least = 0;
  for (size_t gpu = 0; gpu < queues_.size(); ++gpu) {
    if (world.lost[gpu]) continue;
    int64_t work = 0;
    for (const JobIndex other : queues_[gpu]) {
      work += world.StepsLeft(other) * world.workload.jobs[static_cast<size_t>(other)].milli_units;
    }
    if (best == queues_.size() || work < least) {
      best = gpu;
      least = work;
    }
  }
  (best == queues_.size() ? stranded_ : queues_[best]).push_back(job);
}

void FlashPsPolicy::OnArrival(const World& world, JobIndex job) { Assign(world, job); }

void FlashPsPolicy::OnGpuLost(const World& world, int gpu) {
  if (queues_.empty()) return;
  for (const JobIndex job : std::exchange(queues_[static_cast<size_t>(gpu)], {})) {
    Assign(world, job);
  }
}

void FlashPsPolicy::OnGpuBack(const World& world, int) {
  for (const JobIndex job : std::exchange(stranded_, {})) Assign(world, job);
}

void FlashPsPolicy::Decide(const World& world, std::vector<Quantum>& start,
                           std::vector<JobIndex>&) {
  for (size_t gpu = 0; gpu < queues_.size(); ++gpu) {
    if (!IsFree(world, static_cast<int>(gpu), 1)) continue;
    auto& queue = queues_[gpu];
    std::erase_if(queue, [&](JobIndex job) {
      return world.states[static_cast<size_t>(job)].finished_ns >= 0;
    });
    Quantum quantum;
    quantum.gpu = static_cast<int>(gpu);
    int64_t milli_units = 0;
    for (const JobIndex job : queue) {
      milli_units += world.workload.jobs[static_cast<size_t>(job)].milli_units;
      if (!quantum.jobs.empty() && milli_units > world.peer_knee_milli_units) break;
      quantum.jobs.push_back(job);
    }
    if (!quantum.jobs.empty()) start.push_back(std::move(quantum));
  }
}

}  // namespace darkroom::simulator
