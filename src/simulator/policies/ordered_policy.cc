#include "simulator/policies/ordered_policy.h"

#include <algorithm>
#include <utility>

#include "simulator/policies/packing.h"

namespace darkroom::simulator {

void OrderedPolicy::Decide(const World& world, std::vector<Quantum>& start,
                           std::vector<JobIndex>&) {
  std::vector<std::pair<int64_t, JobIndex>> keyed;
  for (const JobIndex job : Idle(world)) {
    const int64_t key = order_ == Order::kDeadline
                            ? world.workload.jobs[static_cast<size_t>(job)].deadline_ns
                            : world.RemainingNanos(job);
    keyed.emplace_back(key, job);
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<JobIndex> order;
  order.reserve(keyed.size());
  for (const auto& [key, job] : keyed) order.push_back(job);
  PackInOrder(world, std::move(order), equal_keys_, degree_, weights_, start);
}

}  // namespace darkroom::simulator
