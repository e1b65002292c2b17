#include "simulator/policies/fifo_policy.h"

#include "simulator/policies/packing.h"

namespace darkroom::simulator {

void FifoPolicy::OnDone(const World& world, const Quantum& quantum, int64_t) {
  std::erase_if(batches_[static_cast<size_t>(quantum.gpu)], [&](JobIndex job) {
    return world.states[static_cast<size_t>(job)].finished_ns >= 0;
  });
}

void FifoPolicy::OnGpuLost(const World& world, int gpu) {
  if (batches_.empty()) return;
  gpu -= gpu % degree_;
  for (const JobIndex job : batches_[static_cast<size_t>(gpu)]) {
    held_[static_cast<size_t>(job)] = false;
  }
  batches_[static_cast<size_t>(gpu)].clear();
}

std::vector<Weights> FifoPolicy::Refresh(const World& world, int gpu,
                                         std::vector<JobIndex>& batch) {
  weights_.Reset(world.workload);
  std::vector<JobIndex> order;
  for (const JobIndex index : world.active) {
    if (!held_[static_cast<size_t>(index)]) order.push_back(index);
  }
  const size_t head =
      batch.empty() && !order.empty() ? HeadFor(world, gpu, order, weights_) : order.size();
  if (head < order.size()) {
    batch.push_back(order[head]);
    held_[static_cast<size_t>(batch.front())] = true;
  }
  std::vector<const WorkJob*> jobs;
  for (const JobIndex index : batch) {
    jobs.push_back(&world.workload.jobs[static_cast<size_t>(index)]);
  }
  return weights_.Bring(gpu, jobs);
}

void FifoPolicy::Decide(const World& world, std::vector<Quantum>& start, std::vector<JobIndex>&) {
  batches_.resize(static_cast<size_t>(world.workload.gpus));
  held_.resize(world.workload.jobs.size(), false);
  for (int gpu = 0; gpu + degree_ <= world.workload.gpus; gpu += degree_) {
    if (!IsFree(world, gpu, degree_)) continue;
    auto& batch = batches_[static_cast<size_t>(gpu)];
    std::vector<Weights> loads;
    const bool loading = world.workload.gpu_models > 0;
    if (loading) loads = Refresh(world, gpu, batch);
    int64_t milli_units = 0;
    for (const JobIndex job : batch) {
      milli_units += world.workload.jobs[static_cast<size_t>(job)].milli_units;
    }
    for (const JobIndex index : world.active) {
      if (milli_units >= world.peer_knee_milli_units) break;
      if (held_[static_cast<size_t>(index)] || (loading && batch.empty())) continue;
      const WorkJob& job = world.workload.jobs[static_cast<size_t>(index)];
      if (!batch.empty() &&
          (job.model != world.workload.jobs[static_cast<size_t>(batch.front())].model ||
           milli_units + job.milli_units > world.peer_knee_milli_units)) {
        continue;
      }
      if (loading && !weights_.Holds(gpu, job)) continue;
      batch.push_back(index);
      held_[static_cast<size_t>(index)] = true;
      milli_units += job.milli_units;
    }
    if (batch.empty()) continue;
    Quantum quantum;
    quantum.gpu = gpu;
    quantum.degree = degree_;
    quantum.jobs = batch;
    quantum.loads = std::move(loads);
    start.push_back(std::move(quantum));
  }
}

}  // namespace darkroom::simulator
