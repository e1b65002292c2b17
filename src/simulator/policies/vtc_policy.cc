#include "simulator/policies/vtc_policy.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
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
  std::map<uint32_t, std::deque<JobIndex>> queues;  // of tenants with something that waits
  for (const JobIndex job : Idle(world)) {
    queues[world.workload.jobs[static_cast<size_t>(job)].tenant].push_back(job);
  }
  // The order in which jobs would be taken one by one, each charged as it is taken.
  std::vector<double> counters = counters_;
  std::vector<JobIndex> order;
  while (!queues.empty()) {
    const auto best = std::min_element(
        queues.begin(), queues.end(),
        [&](const auto& a, const auto& b) { return counters[a.first] < counters[b.first]; });
    const JobIndex job = best->second.front();
    best->second.pop_front();
    counters[best->first] +=
        static_cast<double>(world.workload.jobs[static_cast<size_t>(job)].milli_units);
    order.push_back(job);
    if (best->second.empty()) queues.erase(best);
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
