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
               LruWeights& weights) {
  const auto job_at = [&](size_t i) -> const WorkJob& {
    return world.workload.jobs[static_cast<size_t>(order[i])];
  };
  if (world.load_mode == LoadMode::kBeside) {
    size_t head = 0;
    while (head < order.size() && !weights.Holds(gpu, job_at(head))) ++head;
    // What it runs is used before anything is evicted.
    if (head < order.size()) weights.Bring(gpu, {&job_at(head)});
    size_t wanted = 0;
    while (wanted < head && weights.Anywhere(job_at(wanted))) ++wanted;
    if (wanted < head || head == order.size()) {
      weights.Fetch(gpu, job_at(wanted < head ? wanted : 0));
    }
    return head;
  }
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
      if (head == static_cast<long>(order.size())) continue;
      std::rotate(order.begin(), order.begin() + head, order.begin() + head + 1);
    }
    for (const JobIndex index : order) {
      const WorkJob& job = world.workload.jobs[static_cast<size_t>(index)];
      const bool first = quantum.jobs.empty();
      const bool fits = milli_units + job.milli_units <= world.peer_knee_milli_units;
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
