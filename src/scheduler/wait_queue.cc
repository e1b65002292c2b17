#include "scheduler/wait_queue.h"

#include <algorithm>
#include <functional>

namespace darkroom::scheduler {
namespace {

Lane LaneOf(bool late, bool is_protected) {
  if (late) return is_protected ? Lane::kLateProtected : Lane::kLateUnprotected;
  return is_protected ? Lane::kFeasibleProtected : Lane::kFeasibleUnprotected;
}

}  // namespace

void WaitQueue::Add(const Job& job, bool is_protected) {
  const TenantId tenant = job.spec.tenant;
  TenantJobs& jobs = tenants_[tenant];
  Unlink(tenant, jobs, is_protected);
  (job.waits_late ? jobs.late : jobs.feasible).insert({job.wait_key, job.spec.id});
  if (job.waits_late) jobs.late_by_arrival.insert({job.arrival, job.spec.id});
  Link(tenant, jobs, is_protected);
  ++size_;
}

void WaitQueue::Remove(const Job& job, bool is_protected) {
  const TenantId tenant = job.spec.tenant;
  const auto it = tenants_.find(tenant);
  TenantJobs& jobs = it->second;
  Unlink(tenant, jobs, is_protected);
  (job.waits_late ? jobs.late : jobs.feasible).erase({job.wait_key, job.spec.id});
  if (job.waits_late) jobs.late_by_arrival.erase({job.arrival, job.spec.id});
  Link(tenant, jobs, is_protected);
  if (jobs.feasible.empty() && jobs.late.empty()) tenants_.erase(it);
  --size_;
}

void WaitQueue::SetProtected(TenantId tenant, bool is_protected) {
  const auto it = tenants_.find(tenant);
  if (it == tenants_.end()) return;
  Unlink(tenant, it->second, !is_protected);
  Link(tenant, it->second, is_protected);
}

size_t WaitQueue::tenant_size(TenantId tenant) const {
  const auto it = tenants_.find(tenant);
  return it == tenants_.end() ? 0 : it->second.feasible.size() + it->second.late.size();
}

void WaitQueue::Unlink(TenantId tenant, const TenantJobs& jobs, bool is_protected) {
  for (const bool late : {false, true}) {
    const Keyed& keyed = late ? jobs.late : jobs.feasible;
    if (keyed.empty()) continue;
    const auto& [key, id] = *keyed.begin();
    heads_[static_cast<int>(LaneOf(late, is_protected))].erase({key, id, tenant});
  }
  if (is_protected && !jobs.late_by_arrival.empty()) {
    const auto& [arrival, id] = *jobs.late_by_arrival.begin();
    oldest_late_.erase({arrival, id, tenant});
  }
}

void WaitQueue::Link(TenantId tenant, const TenantJobs& jobs, bool is_protected) {
  for (const bool late : {false, true}) {
    const Keyed& keyed = late ? jobs.late : jobs.feasible;
    if (keyed.empty()) continue;
    const auto& [key, id] = *keyed.begin();
    heads_[static_cast<int>(LaneOf(late, is_protected))].insert({key, id, tenant});
  }
  if (is_protected && !jobs.late_by_arrival.empty()) {
    const auto& [arrival, id] = *jobs.late_by_arrival.begin();
    oldest_late_.insert({arrival, id, tenant});
  }
}

void WaitQueue::Visit(Lane lane, absl::FunctionRef<bool(JobId)> visit) const {
  const bool late = lane == Lane::kLateProtected || lane == Lane::kLateUnprotected;
  const Heads& heads = heads_[static_cast<int>(lane)];
  // Merges the tenants' sets: heads come from the lane, and a tenant whose head was taken goes on
  // with its next, in a heap.
  struct Next {
    Keyed::const_iterator at;
    Keyed::const_iterator end;
  };
  const auto later = [](const Next& a, const Next& b) { return *a.at > *b.at; };
  std::vector<Next> heap;
  auto head = heads.begin();
  while (head != heads.end() || !heap.empty()) {
    const bool from_heap =
        head == heads.end() ||
        (!heap.empty() && *heap.front().at < std::pair(std::get<0>(*head), std::get<1>(*head)));
    Next next;
    if (from_heap) {
      std::pop_heap(heap.begin(), heap.end(), later);
      next = heap.back();
      heap.pop_back();
    } else {
      const TenantJobs& jobs = tenants_.find(std::get<2>(*head))->second;
      const Keyed& keyed = late ? jobs.late : jobs.feasible;
      next = {keyed.begin(), keyed.end()};
      ++head;
    }
    if (!visit(next.at->second)) return;
    if (++next.at == next.end) continue;
    heap.push_back(next);
    std::push_heap(heap.begin(), heap.end(), later);
  }
}

void WaitQueue::VisitTenant(TenantId tenant, bool late,
                            absl::FunctionRef<bool(JobId)> visit) const {
  const auto it = tenants_.find(tenant);
  if (it == tenants_.end()) return;
  for (const auto& [key, id] : late ? it->second.late : it->second.feasible) {
    if (!visit(id)) return;
  }
}

std::pair<uint64_t, JobId> WaitQueue::OldestLateProtected() const {
  if (oldest_late_.empty()) return {0, 0};
  const auto& [arrival, id, tenant] = *oldest_late_.begin();
  return {arrival, id};
}

bool WaitQueue::AgreesWith(absl::FunctionRef<bool(TenantId)> is_protected) const {
  WaitQueue again;
  for (const auto& [tenant, jobs] : tenants_) again.Link(tenant, jobs, is_protected(tenant));
  return again.heads_ == heads_ && again.oldest_late_ == oldest_late_;
}

}  // namespace darkroom::scheduler
