// Weights: which replica serves what as they come and go, and what is ordered for those that wait.

#include <algorithm>
#include <utility>

#include "scheduler/limits.h"
#include "scheduler/mutation.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {

// ---- events ----

void Scheduler::On(const WeightsKnown& event, std::vector<Command>&) { residency_.Know(event); }

void Scheduler::On(const WeightsLoaded& event, std::vector<Command>&) {
  const WeightsId& loaded = event.weights;
  if (!residency_.Loaded(event.replica, loaded, event.duration_ns, now_ns_)) return;
  Replica& replica = replicas_.at(event.replica);
  AddCosts(replica.spec, loaded.model);
  const int64_t owner = replica.spec.dedicated_to ? int64_t{*replica.spec.dedicated_to} : -1;
  Join(event.replica, replica, {.model = loaded.model, .owner = owner, .adapter = loaded.adapter});
  touched_replicas_.insert(event.replica);
}

void Scheduler::On(const WeightsFailed& event, std::vector<Command>&) {
  residency_.Failed(event.replica, event.weights, now_ns_);
}

void Scheduler::On(const WeightsEvicted& event, std::vector<Command>&) {
  if (!residency_.Evicted(event.replica, event.weights, now_ns_)) return;
  Replica& replica = replicas_.at(event.replica);
  const int64_t owner = replica.spec.dedicated_to ? int64_t{*replica.spec.dedicated_to} : -1;
  Leave(event.replica, replica,
        {.model = event.weights.model, .owner = owner, .adapter = event.weights.adapter});
}

void Scheduler::OrderLoads(std::vector<Command>& commands) {
  for (int i = 0; i < kLoadsPerDecisionMax; ++i) {
    const auto choice = residency_.Choose(now_ns_);
    if (!choice) return;
    Replica& replica = replicas_.at(choice->replica);
    const int64_t owner = replica.spec.dedicated_to ? int64_t{*replica.spec.dedicated_to} : -1;
    using Kind = Residency::Choice::Kind;
    for (const WeightsId& weights : choice->others) {
      const GroupKey key{.model = weights.model, .owner = owner, .adapter = weights.adapter};
      if (choice->kind == Kind::kRejoin) {
        Join(choice->replica, replica, key);
        touched_replicas_.insert(choice->replica);
      } else if (!Broken(Rule::kResidentOnly)) {
        Leave(choice->replica, replica, key);
      }
      if (choice->kind == Kind::kLoad) {
        commands.push_back(EvictWeights{choice->replica, weights});
      }
    }
    if (choice->kind == Kind::kLoad) {
      commands.push_back(LoadWeights{choice->replica, choice->weights});
    }
  }
}

// ---- who serves what ----

void Scheduler::AddCosts(const ReplicaSpec& spec, ModelId model) {
  costs_.try_emplace({spec.hardware, model}, spec.cost, spec.learned, spec.adapter_ns);
}

void Scheduler::Join(ReplicaId id, Replica& replica, const GroupKey& key) {
  Group& group = groups_[key];
  if (!group.replicas.insert(id).second) return;
  if (replica.spec.gang >= 0) ++group.gang_replicas;
  SetHungry(id, replica, false);
  replica.groups.push_back(key);
  SetHungry(id, replica, true);
  if (group.hardware < 0) {
    group.hardware = replica.spec.hardware;
    Rekey(group, key);
  }
}

void Scheduler::Leave(ReplicaId id, Replica& replica, const GroupKey& key) {
  SetHungry(id, replica, false);
  std::erase(replica.groups, key);
  SetHungry(id, replica, true);
  Group& group = groups_[key];
  group.replicas.erase(id);
  if (replica.spec.gang >= 0) --group.gang_replicas;
}

void Scheduler::JoinAdapters(ReplicaId id, Replica& replica, const GroupKey& model) {
  if (model.media || replica.spec.weights_bytes > 0) return;
  GroupKey key = model;
  // Groups of one model and owner lie side by side.
  for (auto it = groups_.upper_bound(key); it != groups_.end(); it = groups_.upper_bound(key)) {
    key = it->first;
    if (key.model != model.model || key.owner != model.owner || key.media) return;
    Join(id, replica, key);
  }
}

void Scheduler::SetWeights(Job& job) {
  const WeightsId adapter{job.spec.model, job.spec.adapter};
  job.loads_model = residency_.Knows({job.spec.model, 0});
  job.adapter = job.spec.adapter != 0 && residency_.Knows(adapter) ? job.spec.adapter : 0;
  if (job.adapter == 0 || groups_.contains(GroupOf(job))) return;
  // Replicas whose weights are fixed serve every adapter of their models.
  GroupKey model = GroupOf(job);
  model.adapter = 0;
  const auto group = groups_.find(model);
  if (group == groups_.end()) return;
  const GroupKey key = GroupOf(job);
  const std::vector<ReplicaId> serving(group->second.replicas.begin(),
                                       group->second.replicas.end());
  for (const ReplicaId id : serving) {
    Replica& replica = replicas_.at(id);
    if (replica.spec.weights_bytes == 0) Join(id, replica, key);
  }
}

int64_t Scheduler::HardwareFor(const Job& job) {
  const auto group = groups_.find(GroupOf(job));
  if (group != groups_.end() && group->second.hardware >= 0) return group->second.hardware;
  if (residency_.empty()) return -1;
  const auto weights = WeightsOf(job);
  const auto home = weights.empty() ? std::nullopt : residency_.Home(weights.back());
  if (!home) return -1;
  const ReplicaSpec& spec = replicas_.at(*home).spec;
  AddCosts(spec, job.spec.model);
  groups_[GroupOf(job)].hardware = spec.hardware;
  return spec.hardware;
}

// ---- what jobs need ----

std::vector<Residency::Key> Scheduler::WeightsOf(const Job& job) const {
  std::vector<Residency::Key> keys;
  const int64_t owner = GroupOf(job).owner;
  if (job.loads_model) keys.push_back({owner, {job.spec.model, 0}});
  if (job.adapter != 0) keys.push_back({owner, {job.spec.model, job.adapter}});
  return keys;
}

void Scheduler::AskForWeights(const Job& job) {
  if (residency_.unused()) return;
  // Who has had more than its share has a tenth of a say in what stays.
  const double share = fair_.Protected(job.spec.tenant) ? 1.0 : 0.1;
  for (const Residency::Key& key : WeightsOf(job)) {
    residency_.Ask(key, NanosLeft(job), share, now_ns_);
  }
}

void Scheduler::WaitForWeights(Job& job, bool waits) {
  if (job.in_media || job.wants_weights == waits) return;
  if (waits && residency_.unused()) return;
  job.wants_weights = waits;
  for (const Residency::Key& key : WeightsOf(job)) {
    if (waits) {
      residency_.AddWaiting(key, job.wait_ns, now_ns_);
    } else {
      residency_.RemoveWaiting(key, job.wait_ns);
    }
  }
  // A started job that waits may be taken over: it keeps nothing where it is.
  if (job.replica != kNowhere) PinWeights(job.replica, job, !waits);
}

void Scheduler::PinWeights(ReplicaId id, const Job& job, bool pin) {
  if (!residency_.Manages(id)) return;
  for (const WeightsId& weights :
       {WeightsId{job.spec.model, 0}, WeightsId{job.spec.model, job.adapter}}) {
    if (pin) {
      residency_.Pin(id, weights);
    } else {
      residency_.Unpin(id, weights);
    }
    if (job.adapter == 0) break;
  }
}

bool Scheduler::HasWeights(ReplicaId id, const Job& job) const {
  if (!residency_.Manages(id) || Broken(Rule::kResidentOnly)) return true;
  return residency_.Resident(id, {job.spec.model, 0}) &&
         (job.adapter == 0 || residency_.Resident(id, {job.spec.model, job.adapter}));
}

int64_t Scheduler::LoadWait(const Job& job) const {
  if (residency_.empty()) return 0;
  const auto group = groups_.find(GroupOf(job));
  if (group != groups_.end() && !group->second.replicas.empty()) return 0;
  const auto keys = WeightsOf(job);
  return keys.empty() ? 0 : residency_.WaitFor(keys.back(), now_ns_);
}

void Scheduler::OfferAfterLoad(const Job& job, JobRefused& refused) const {
  const int64_t wait_ns = LoadWait(job);
  if (wait_ns == 0 || wait_ns == kNoDeadline) return;
  const auto work = static_cast<double>(SafeNanosLeft(job)) / (1.0 - config_.reserve_share);
  refused.retry_after_ns = wait_ns;
  refused.offered_deadline_ns = now_ns_ + wait_ns + static_cast<int64_t>(work);
}

std::vector<std::pair<ReplicaId, int64_t>> Scheduler::ServesSoon(const GroupKey& key) const {
  std::vector<std::pair<ReplicaId, int64_t>> serving;
  const auto group = groups_.find(key);
  if (group != groups_.end()) {
    for (const ReplicaId id : group->second.replicas) serving.emplace_back(id, now_ns_);
  }
  if (residency_.empty() || key.media) return serving;
  const Residency::Key weights{key.owner, {key.model, key.adapter}};
  for (const auto& arriving : residency_.Arriving(weights, now_ns_)) serving.push_back(arriving);
  const int64_t wait_ns = serving.empty() ? residency_.WaitFor(weights, now_ns_) : kNoDeadline;
  if (wait_ns != kNoDeadline) serving.emplace_back(*residency_.Home(weights), now_ns_ + wait_ns);
  return serving;
}

}  // namespace darkroom::scheduler
