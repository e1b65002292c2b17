#include "scheduler/scheduler.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "scheduler/charge_split.h"
#include "scheduler/event_check.h"
#include "scheduler/limits.h"
#include "scheduler/mutation.h"

namespace darkroom::scheduler {
namespace {

// Of the accelerator time that a quantum took, what its jobs pay.
int64_t BilledNanos(const Plan& plan, int64_t duration_ns) {
  const int64_t busy_ns = duration_ns * plan.degree();
  const int64_t predicted_ns = plan.predicted_ns * plan.degree();
  if (Broken(Rule::kGangCharges)) return duration_ns;
  if (plan.billed_ns >= predicted_ns) return busy_ns;
  return static_cast<int64_t>(static_cast<__int128>(busy_ns) * plan.billed_ns / predicted_ns);
}

}  // namespace

void Scheduler::Handle(const Event& event, int64_t now_ns, std::vector<Command>& commands) {
  now_ns_ = std::max(now_ns_, now_ns);
  if (!CheckEvent(event).ok()) {
    if (const auto* submitted = std::get_if<JobSubmitted>(&event)) {
      commands.push_back(JobRefused{submitted->spec.id, Refusal::kInvalid});
    }
    return;
  }
  settled_gangs_.clear();
  MoveLate();
  std::visit([&](const auto& e) { On(e, commands); }, event);
  Revise(event, commands);
  Dispatch(commands);
  OrderLoads(commands);
  // What was to make room for others may be used again.
  if (!touched_replicas_.empty()) Dispatch(commands);
}

// ---- replicas ----

void Scheduler::On(const ReplicaAttached& event, std::vector<Command>&) {
  if (replicas_.contains(event.replica)) return;
  Replica& replica = replicas_[event.replica];
  replica.spec = event.spec;
  residency_.Attach(event.replica, event.spec);
  replica.spec.plans_in_flight_max =
      std::clamp(event.spec.plans_in_flight_max, 1, kPlansInFlightMax);
  for (int32_t slot = 0; slot < event.spec.slots; ++slot) replica.free_slots.insert(slot);
  if ((event.spec.stages & StageBit(Stage::kMediaEncode)) != 0) {
    replica.groups.push_back({.media = true});
  }
  for (const ModelId model : event.spec.models) {
    const int64_t owner = event.spec.dedicated_to ? int64_t{*event.spec.dedicated_to} : -1;
    replica.groups.push_back({.model = model, .owner = owner});
    AddCosts(event.spec, model);
  }
  if (event.spec.models.empty()) AddCosts(event.spec, 0);
  // Before anybody's costs are asked for again, which the degrees are part of.
  const bool widens = event.spec.gang >= 0 && JoinGang(event.replica, replica);
  const std::vector<GroupKey> serves = std::move(replica.groups);
  replica.groups.clear();
  for (const GroupKey& key : serves) {
    Join(event.replica, replica, key);
    JoinAdapters(event.replica, replica, key);
  }
  if (widens) {
    // What waited for workers may now be in time.
    for (const GroupKey& key : replica.groups) Rekey(groups_[key], key);
  }
  touched_replicas_.insert(event.replica);
}

void Scheduler::On(const ReplicaLost& event, std::vector<Command>& commands) {
  const auto it = replicas_.find(event.replica);
  if (it == replicas_.end()) return;
  Replica& replica = it->second;
  SetHungry(event.replica, replica, false);
  if (replica.spec.gang >= 0) LeaveGang(event.replica, replica, commands);
  // Suspects are the jobs of the oldest plan, which is the one that ran.
  std::map<JobId, Position> suspects;
  std::set<JobId> stranded(replica.residents.begin(), replica.residents.end());
  for (const Timeline::Entry& entry : replica.timeline.entries()) stranded.insert(entry.job);
  for (const Plan& plan : replica.plans) {
    for (const PlanItem& item : plan.items) {
      // Work that was lost is not the tenant's to pay.
      fair_.Charge(item.tenant, -item.predicted_share_ns);
      stranded.insert(item.job);
      if (plan.sequence == replica.plans.front().sequence) suspects[item.job] = item.at;
    }
  }
  MoveProtected();
  for (const GroupKey& key : replica.groups) {
    Group& group = groups_[key];
    group.replicas.erase(event.replica);
    if (replica.spec.gang >= 0) --group.gang_replicas;
  }
  for (const JobId id : stranded) {
    const auto job = jobs_.find(id);
    if (job != jobs_.end() && job->second.replica != kNowhere) {
      if (job->second.waits) Dequeue(job->second);
      --tenants_[job->second.spec.tenant].running;
      --running_;
    }
  }
  replicas_.erase(it);
  residency_.Detach(event.replica, now_ns_);
  for (const JobId id : stranded) {
    const auto job = jobs_.find(id);
    if (job == jobs_.end()) continue;
    const auto suspect = suspects.find(id);
    if (suspect != suspects.end()) Suspect(job->second, suspect->second);
    Requeue(job->second, commands);
  }
}

void Scheduler::Suspect(Job& job, const Position& at) {
  if (at != job.crashed_at) job.crashes = 0;
  job.crashed_at = at;
  ++job.crashes;
  ++job.crashes_total;
}

void Scheduler::Requeue(Job& job, std::vector<Command>& commands) {
  if (job.crashes >= kCrashesMax || job.crashes_total >= kCrashesTotalMax) {
    commands.push_back(JobQuarantined{job.spec.id});
    Erase(job.spec.id);
    return;
  }
  job.replica = kNowhere;
  job.placed_on = kNowhere;
  job.in_flight = 0;
  // From media encode there is nothing to go back to: the pixels are with the engine.
  if (job.next.stage != Stage::kMediaEncode || !job.in_media) {
    job.next = FirstPosition(job.spec, job.checkpoint_step);
    if (job.checkpoint_step == 0) job.numerics = 0;
  }
  int64_t earliest_ns = 0;
  const bool placed =
      job.spec.service_class == ServiceClass::kGuaranteed && Place(job, earliest_ns);
  if (job.spec.held) return;  // it had not begun, and nobody was told of it
  if (!placed) Enqueue(job);
  commands.push_back(JobRequeued{job.spec.id, job.checkpoint_step});
}

// ---- tenants ----

void Scheduler::On(const TenantWeight& event, std::vector<Command>&) {
  fair_.SetWeight(event.tenant, event.weight);
}

void Scheduler::On(const TenantLimits& event, std::vector<Command>&) {
  Tenant& tenant = tenants_[event.tenant];
  tenant.limits = event;
  tenant.bucket.reset();
  if (event.jobs_per_second > 0) {
    tenant.bucket.emplace(event.jobs_per_second, event.jobs_burst, now_ns_);
  }
}

void Scheduler::On(const TenantRemoved& event, std::vector<Command>& commands) {
  const auto it = tenants_.find(event.tenant);
  if (it == tenants_.end()) return;
  const std::vector<JobId> ids(it->second.jobs.begin(), it->second.jobs.end());
  for (const JobId id : ids) {
    Drop(jobs_.at(id), commands);
    commands.push_back(JobRefused{id, Refusal::kTenantRemoved});
  }
  tenants_.erase(event.tenant);
}

// ---- jobs ----

void Scheduler::On(const JobSubmitted& event, std::vector<Command>& commands) {
  if (jobs_.contains(event.spec.id)) return;  // an event that came twice
  const bool admitted = event.spec.admitted && jobs_.size() < kJobsMax;
  if (auto refused = admitted ? std::nullopt : Refuse(event.spec)) {
    commands.push_back(*refused);
    return;
  }
  Job& job = jobs_[event.spec.id];
  job.spec = event.spec;
  job.arrival = ++last_arrival_;
  job.arrival_ns = now_ns_;
  job.next = FirstPosition(job.spec, 0);
  SetWeights(job);
  SetCost(job, HardwareFor(job));
  job.epsilon = cost_error_.Epsilon();
  FillDeadline(job);
  AskForWeights(job);
  auto refused =
      admitted || event.spec.deadline_ns == kNoDeadline ? std::nullopt : RefuseByDeadline(job);
  const bool guaranteed = job.spec.service_class == ServiceClass::kGuaranteed;
  if (!refused && guaranteed) {
    int64_t earliest_ns = kNoDeadline;
    if (!Place(job, earliest_ns) && !admitted) {
      refused = JobRefused{job.spec.id, Refusal::kNoGuarantee, 0, earliest_ns};
      if (earliest_ns == kNoDeadline) OfferAfterLoad(job, *refused);
    }
  }
  if (refused) {
    jobs_.erase(event.spec.id);
    commands.push_back(*refused);
    return;
  }
  fair_.AddJob(job.spec.tenant);
  MoveProtected();
  tenants_[job.spec.tenant].jobs.insert(job.spec.id);
  if (job.placed_on == kNowhere && !job.spec.held) Enqueue(job);
}

void Scheduler::On(const JobReleased& event, std::vector<Command>&) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end() || !it->second.spec.held) return;
  Job& job = it->second;
  job.spec.held = false;
  if (job.placed_on == kNowhere) {
    Enqueue(job);
  } else {
    touched_replicas_.insert(job.placed_on);
  }
}

void Scheduler::On(const JobEnded& event, std::vector<Command>& commands) {
  const auto it = jobs_.find(event.job);
  if (it != jobs_.end()) Drop(it->second, commands);
}

void Scheduler::Drop(Job& job, std::vector<Command>& commands) {
  if (job.waits) Dequeue(job);
  if (job.replica != kNowhere) LeaveSlot(job, commands);
  Unplace(job);
  Erase(job.spec.id);
}

void Scheduler::Erase(JobId id) {
  const auto it = jobs_.find(id);
  const TenantId tenant = it->second.spec.tenant;
  tenants_[tenant].jobs.erase(id);
  jobs_.erase(it);
  fair_.RemoveJob(tenant);
  MoveProtected();
}

// ---- quanta ----

void Scheduler::On(const PlanFinished& event, std::vector<Command>& commands) {
  const auto it = replicas_.find(event.replica);
  if (it == replicas_.end()) return;
  Replica& replica = it->second;
  const auto plan_it =
      std::find_if(replica.plans.begin(), replica.plans.end(),
                   [&](const Plan& plan) { return plan.sequence == event.sequence; });
  if (plan_it == replica.plans.end()) return;
  SetHungry(event.replica, replica, false);
  const Plan plan = std::move(*plan_it);
  replica.plans.erase(plan_it);
  replica.front_since_ns = now_ns_;
  FreeHelpers(plan);
  SetHungry(event.replica, replica, true);
  touched_replicas_.insert(event.replica);

  // Only what ran is charged, in proportion to its tokens, and never more than it would have paid
  // alone at this quantum's pace; but who asked for helpers pays what they cost above that.
  const int64_t duration_ns = std::max<int64_t>(0, event.duration_ns);
  std::vector<int64_t> weights(plan.items.size(), 0);
  int64_t tokens_run = 0;
  for (size_t i = 0; i < plan.items.size() && i < event.items.size(); ++i) {
    if (event.items[i].outcome == PlanFinished::Outcome::kSkipped) continue;
    weights[i] = plan.items[i].weight;
    tokens_run += plan.items[i].tokens;
  }
  // A quantum that some were taken out of measures nothing: nobody knows how much of it they ran.
  if (tokens_run == plan.tokens) {
    const auto job = jobs_.find(plan.items.front().job);
    if (job != jobs_.end()) {
      CostOf(replica, job->second.spec.model, plan.degree())
          .Observe(plan.stage, tokens_run, duration_ns * plan.segments_of_step / plan.segments,
                   plan.adapters, static_cast<double>(plan.segments) / plan.segments_of_step);
    }
  }
  const int64_t billed_ns = BilledNanos(plan, duration_ns);
  std::vector<int64_t> shares = SplitCapped(billed_ns, weights, plan.Caps(duration_ns));
  if (Broken(Rule::kExactCharges) && !shares.empty()) shares[0] += shares[0] / 2;
  for (size_t i = 0; i < plan.items.size() && i < event.items.size(); ++i) {
    const PlanItem& item = plan.items[i];
    fair_.Charge(item.tenant, shares[i] - item.predicted_share_ns);
    MoveProtected();
    FinishItem(plan, item, event.items[i], shares[i], commands);
  }
  const int64_t nobodys_ns = duration_ns * plan.degree() - billed_ns;
  if (nobodys_ns > 0) commands.push_back(Charge{0, plan.stage, nobodys_ns});
}

void Scheduler::FinishItem(const Plan& plan, const PlanItem& item, const PlanFinished::Item& result,
                           int64_t nanos, std::vector<Command>& commands) {
  if (nanos > 0) commands.push_back(Charge{item.job, item.at.stage, nanos});
  const auto it = jobs_.find(item.job);
  if (it == jobs_.end()) return;  // cancelled while it ran
  Job& job = it->second;
  --job.in_flight;
  job.actual_ns += nanos;
  job.predicted_ns += item.predicted_share_ns;
  // A failed job stays until its engine says JobEnded; a skipped one has a new lease already.
  if (result.outcome != PlanFinished::Outcome::kDone) return;

  if (result.checkpointed) job.checkpoint_step = item.at.step + 1;
  if (job.crashes > 0 && item.at >= job.crashed_at) job.crashes = 0;
  bool done = false;
  const Position after = After(item.at, job.spec, plan.segments, done);
  if (done) {
    if (job.replica != kNowhere) LeaveSlot(job, commands);
    Unplace(job);
    cost_error_.Add(job.actual_ns, job.predicted_ns);
    commands.push_back(JobFinished{item.job});
    Erase(item.job);
  } else if (after.stage == Stage::kMediaEncode) {
    // The pixels have left the replica; only the media pool is needed from here.
    LeaveSlot(job, commands);
    Unplace(job);
    job.in_media = true;
    Enqueue(job);
  } else if (MayMove(job)) {
    Enqueue(job);
  }
}

}  // namespace darkroom::scheduler
