// Staged plans that something better has come for, while they have not begun.

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "scheduler/limits.h"
#include "scheduler/mutation.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

// Whether the event may bring a job that waits, or take one out of a plan.
bool BringsOrTakesJobs(const Event& event) {
  return std::holds_alternative<JobSubmitted>(event) ||
         std::holds_alternative<JobReleased>(event) || std::holds_alternative<JobEnded>(event) ||
         std::holds_alternative<TenantRemoved>(event) || std::holds_alternative<ReplicaLost>(event);
}

}  // namespace

void Scheduler::Revise(const Event& event, std::vector<Command>& commands) {
  if (!BringsOrTakesJobs(event)) return;
  absl::btree_set<ReplicaId> ids = touched_replicas_;
  for (const GroupKey& key : touched_groups_) {
    const Group& group = groups_[key];
    // Where a replica has room, that takes what came.
    const bool room = std::any_of(group.hungry.begin(), group.hungry.end(), [this](const auto& of) {
      return replicas_.at(of.second).helps == kNowhere;
    });
    if (room) continue;
    for (const ReplicaId id : group.replicas) {
      if (ids.size() >= kRevisionReplicasMax) break;
      ids.insert(id);
    }
  }
  Replica* first = nullptr;
  ReplicaId first_id = kNowhere;
  int64_t first_ns = kNoDeadline;
  for (const ReplicaId id : ids) {
    const auto it = replicas_.find(id);
    if (it == replicas_.end()) continue;
    const auto start_ns = StagedStart(it->second);
    if (!start_ns || *start_ns >= first_ns || !Outdated(id, it->second, *start_ns)) continue;
    first = &it->second;
    first_id = id;
    first_ns = *start_ns;
  }
  if (first == nullptr) return;
  first->plans.back().revoking = true;
  commands.push_back(RevokePlan{first_id, first->plans.back().sequence});
}

std::optional<int64_t> Scheduler::StagedStart(const Replica& replica) const {
  if (!replica.spec.revokes || replica.plans.size() < 2) return std::nullopt;
  const Plan& staged = replica.plans.back();
  if (staged.revoking || staged.predicted_ns < kRevisionLeadNs) return std::nullopt;
  const int64_t start_ns = replica.BusyUntil(now_ns_, 1.0) - staged.move_ns - staged.predicted_ns;
  if (start_ns < now_ns_ + kRevisionLeadNs) return std::nullopt;
  return start_ns;
}

bool Scheduler::Outdated(ReplicaId id, Replica& replica, int64_t start_ns) {
  const Plan& staged = replica.plans.back();
  absl::flat_hash_set<JobId> members;
  for (const PlanItem& item : staged.items) {
    const auto job = jobs_.find(item.job);
    if (job == jobs_.end() || job->second.replica != id) return true;
    members.insert(item.job);
  }
  if (!staged.head) return false;
  Gather(id, replica, start_ns);
  for (const Candidate& candidate : candidates_) {
    if (PlaceOf(candidate) >= *staged.head) return false;
    if (!members.contains(candidate.job->spec.id) && MayHead(replica, candidate)) return true;
  }
  return false;
}

void Scheduler::On(const PlanRevoked& event, std::vector<Command>&) {
  const auto it = replicas_.find(event.replica);
  if (it == replicas_.end() || it->second.plans.empty()) return;
  Replica& replica = it->second;
  if (replica.plans.back().sequence != event.sequence || !replica.plans.back().revoking) return;
  SetHungry(event.replica, replica, false);
  const Plan plan = std::move(replica.plans.back());
  replica.plans.pop_back();
  SetHungry(event.replica, replica, true);
  touched_replicas_.insert(event.replica);
  replica.reserve_ns = std::max<int64_t>(0, replica.reserve_ns - plan.reserve_ns);
  for (const PlanItem& item : plan.items) {
    if (!Broken(Rule::kRevokedFree)) fair_.Charge(item.tenant, -item.predicted_share_ns);
  }
  // Before any of them waits again: queues must know whom they hold as protected.
  MoveProtected();
  for (const PlanItem& item : plan.items) {
    const auto found = jobs_.find(item.job);
    if (found == jobs_.end() || found->second.replica != event.replica) continue;
    Job& job = found->second;
    --job.in_flight;
    if (!Broken(Rule::kRevokedStep)) job.next = item.at;
    if (job.placed_on == event.replica) replica.timeline.SetLeft(item.job, SafeNanosLeft(job));
    if (MayMove(job)) Enqueue(job);
  }
}

void Scheduler::On(const PlanBegun& event, std::vector<Command>&) {
  const auto it = replicas_.find(event.replica);
  if (it == replicas_.end()) return;
  for (Plan& plan : it->second.plans) {
    if (plan.sequence == event.sequence) plan.revoking = false;
  }
  touched_replicas_.insert(event.replica);
}

}  // namespace darkroom::scheduler
