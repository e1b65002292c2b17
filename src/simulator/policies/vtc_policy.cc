#include "simulator/policies/vtc_policy.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "simulator/policies/packing.h"

namespace darkroom::simulator {

void VtcPolicy::OnArrival(const World& world, JobIndex job) {
  counters_.resize(world.workload.tenants, 0.0);
  const uint32_t tenant = world.workload.jobs[static_cast<size_t>(job)].tenant;
  double least = std::numeric_limits<double>::infinity();
  for (const JobIndex other : world.active) {
    if (other == job) continue;
    const uint32_t of = world.workload.jobs[static_cast<size_t>(other)].tenant;
    if (of == tenant) return;  // it was there already
    least = std::min(least, counters_[of]);
  }
  if (least < std::numeric_limits<double>::infinity()) {
    counters_[tenant] = std::max(counters_[tenant], least);
  }
}

void VtcPolicy::Decide(const World& world, std::vector<Quantum>& start, std::vector<JobIndex>&) {
  std::vector<std::vector<JobIndex>> queues(world.workload.tenants);
  for (const JobIndex job : Idle(world)) {
    queues[world.workload.jobs[static_cast<size_t>(job)].tenant].push_back(job);
  }
  // The order in which jobs would be taken one by one, each charged as it is taken.
  std::vector<double> counters = counters_;
  std::vector<size_t> next(queues.size(), 0);
  std::vector<JobIndex> order;
  for (;;) {
    size_t best = queues.size();
    for (size_t tenant = 0; tenant < queues.size(); ++tenant) {
      if (next[tenant] == queues[tenant].size()) continue;
      if (best == queues.size() || counters[tenant] < counters[best]) best = tenant;
    }
    if (best == queues.size()) break;
    const JobIndex job = queues[best][next[best]++];
    counters[best] +=
        static_cast<double>(world.workload.jobs[static_cast<size_t>(job)].milli_units);
    order.push_back(job);
  }
  const size_t before = start.size();
  PackInOrder(world, std::move(order), false, degree_, weights_, start);
  for (size_t i = before; i < start.size(); ++i) {
    for (const JobIndex job : start[i].jobs) {
      const WorkJob& of = world.workload.jobs[static_cast<size_t>(job)];
      counters_[of.tenant] += static_cast<double>(of.milli_units);
    }
  }
}

}  // namespace darkroom::simulator
