#include "simulator/policies/packing.h"

#include <algorithm>

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

size_t HeadFor(const World& world, int gpu, const std::vector<JobIndex>& order,
               const LruWeights& weights) {
  for (size_t i = 0; i < order.size(); ++i) {
    const WorkJob& job = world.workload.jobs[static_cast<size_t>(order[i])];
    if (weights.Holds(gpu, job) || !weights.Anywhere(job)) return i;
  }
  return 0;
}

void PackInOrder(const World& world, std::vector<JobIndex> order, bool equal_keys, int degree,
                 LruWeights& weights, std::vector<Quantum>& start) {
  const bool loads = world.workload.gpu_models > 0;
  if (loads) weights.Reset(world.workload);
  for (int gpu = 0; gpu + degree <= world.workload.gpus && !order.empty(); gpu += degree) {
    if (!IsFree(world, gpu, degree)) continue;
    Quantum quantum;
    quantum.gpu = gpu;
    quantum.degree = degree;
    std::vector<JobIndex> left;
    int64_t milli_units = 0;
    uint32_t key = 0;
    std::vector<const WorkJob*> batch;
    if (loads) {
      const auto head = static_cast<long>(HeadFor(world, gpu, order, weights));
      std::rotate(order.begin(), order.begin() + head, order.begin() + head + 1);
    }
    for (const JobIndex index : order) {
      const WorkJob& job = world.workload.jobs[static_cast<size_t>(index)];
      const bool first = quantum.jobs.empty();
      const bool fits = milli_units + job.milli_units <= kPeerKneeMilliUnits;
      const bool there = !loads || first || (job.model == key && weights.Holds(gpu, job));
      if (!first && (!fits || !there || (equal_keys && job.model != key))) {
        left.push_back(index);
        continue;
      }
      key = first ? job.model : key;
      milli_units += job.milli_units;
      quantum.jobs.push_back(index);
      if (!loads) continue;
      batch.push_back(&job);
      if (first) quantum.loads = weights.Bring(gpu, batch);
    }
    if (loads) weights.Bring(gpu, batch);
    order = std::move(left);
    start.push_back(std::move(quantum));
  }
}

}  // namespace darkroom::simulator
