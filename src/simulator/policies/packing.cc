#include "simulator/policies/packing.h"

namespace darkroom::simulator {

std::vector<JobIndex> Idle(const World& world) {
  std::vector<JobIndex> idle;
  for (const JobIndex job : world.active) {
    if (!world.states[static_cast<size_t>(job)].running) idle.push_back(job);
  }
  return idle;
}

bool IsFree(const World& world, int gpu, int degree) {
  for (int i = gpu; i < gpu + degree; ++i) {
    if (world.busy[static_cast<size_t>(i)] || world.lost[static_cast<size_t>(i)]) return false;
  }
  return true;
}

void PackInOrder(const World& world, std::vector<JobIndex> order, bool equal_keys, int degree,
                 std::vector<Quantum>& start) {
  for (int gpu = 0; gpu + degree <= world.workload.gpus && !order.empty(); gpu += degree) {
    if (!IsFree(world, gpu, degree)) continue;
    Quantum quantum;
    quantum.gpu = gpu;
    quantum.degree = degree;
    std::vector<JobIndex> left;
    int64_t milli_units = 0;
    uint32_t key = 0;
    for (const JobIndex index : order) {
      const WorkJob& job = world.workload.jobs[static_cast<size_t>(index)];
      const bool first = quantum.jobs.empty();
      const bool fits = milli_units + job.milli_units <= kPeerKneeMilliUnits;
      if (!first && (!fits || (equal_keys && job.model != key))) {
        left.push_back(index);
        continue;
      }
      key = first ? job.model : key;
      milli_units += job.milli_units;
      quantum.jobs.push_back(index);
    }
    order = std::move(left);
    start.push_back(std::move(quantum));
  }
}

}  // namespace darkroom::simulator
