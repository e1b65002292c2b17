// Slots, queues, the indexes over them, and the questions that they answer.

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "scheduler/limits.h"
#include "scheduler/mutation.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
// ---- slots ----

void Scheduler::TakeSlot(ReplicaId id, Replica& replica, Job& job, std::vector<Command>& commands) {
  if (job.waits) Dequeue(job);
  OpenSlot open{.replica = id, .job = job.spec.id, .resume_step = job.next.step};
  std::optional<CloseSlot> close;
  if (job.replica != kNowhere) {
    close = FreeSlot(job);
    open.from_replica = close->replica;
    open.from_slot = close->slot;
    open.from_epoch = close->epoch;
  }
  if (job.placed_on == id) {
    --replica.to_open;
    job.opened = true;
  }
  if (job.placed_on == kNowhere) SetCost(job, replica.spec.hardware);
  job.replica = id;
  job.slot = *replica.free_slots.begin();
  job.epoch = ++last_epoch_;
  job.slot_step = job.next.step;
  job.numerics = replica.spec.numerics;
  replica.free_slots.erase(replica.free_slots.begin());
  replica.residents.insert(job.spec.id);
  ++replica.residents_of[job.spec.tenant];
  ++tenants_[job.spec.tenant].running;
  ++running_;
  PinWeights(id, job, true);
  open.slot = job.slot;
  open.epoch = job.epoch;
  commands.push_back(open);
  if (close) commands.push_back(*close);
}

void Scheduler::LeaveSlot(Job& job, std::vector<Command>& commands) {
  commands.push_back(FreeSlot(job));
}

CloseSlot Scheduler::FreeSlot(Job& job) {
  Replica& replica = replicas_.at(job.replica);
  const CloseSlot close{job.replica, job.spec.id, job.slot, job.epoch};
  replica.free_slots.insert(job.slot);
  replica.residents.erase(job.spec.id);
  if (--replica.residents_of[job.spec.tenant] == 0) replica.residents_of.erase(job.spec.tenant);
  --tenants_[job.spec.tenant].running;
  --running_;
  touched_replicas_.insert(job.replica);
  PinWeights(job.replica, job, false);
  job.replica = kNowhere;
  return close;
}

bool Scheduler::MayMove(const Job& job) const {
  if (job.replica == kNowhere || job.placed_on != kNowhere || job.in_flight > 0) return false;
  // Inside a step its activations are parked where they are; a suspect stays where it is watched; a
  // picture to start from is encoded once.
  const bool between = job.next.segment == 0 || Broken(Rule::kMoveBetween);
  if (job.next.stage != Stage::kDenoise || !between || job.crashes > 0) return false;
  if (job.spec.image_encode) return false;
  const ReplicaSpec& spec = replicas_.at(job.replica).spec;
  const int64_t ran_ns =
      (job.next.step - job.slot_step) * job.cost.stage_ns[static_cast<int>(Stage::kDenoise)];
  return spec.moves && ran_ns >= kWorkPerMove * spec.move_ns;
}

int Scheduler::SlotsLeft(const Replica& replica, TenantId id, bool running) const {
  const Tenant& tenant = tenants_.find(id)->second;
  const auto of = replica.residents_of.find(id);
  const int held = of == replica.residents_of.end() ? 0 : of->second;
  int64_t left = SlotsPerTenant(replica.spec) - held;
  if (!running && tenant.limits.running_max > 0) {
    left = std::min(left, tenant.limits.running_max - tenant.running);
  }
  return static_cast<int>(std::max<int64_t>(0, left));
}

// ---- queues ----

GroupKey Scheduler::GroupOf(const Job& job) const {
  if (job.in_media) return {.media = true};
  const bool own = job.spec.isolation == Isolation::kDedicated;
  GroupKey key{.model = job.spec.model, .owner = own ? int64_t{job.spec.tenant} : -1};
  key.adapter = job.adapter;
  return key;
}

WaitQueue& Scheduler::QueueOf(const Job& job) {
  Group& group = groups_[GroupOf(job)];
  if (job.replica == kNowhere) return group.queue;
  return group.started[Broken(Rule::kMoveBits) ? 0 : job.numerics];
}

void Scheduler::Enqueue(Job& job) {
  const GroupKey key = GroupOf(job);
  job.waits = true;
  job.wait_ns = NanosLeft(job);
  job.wait_key = OrderKey(job);
  job.latest_start_ns = job.spec.deadline_ns - SoonestNanosLeft(job);
  job.waits_late = job.latest_start_ns < now_ns_;
  QueueOf(job).Add(job, fair_.Protected(job.spec.tenant));
  if (job.replica == kNowhere) groups_[key].waiting_work[job.waits_late].Add(job.wait_ns);
  ++groups_of_[job.spec.tenant][key];
  if (!job.waits_late) latest_starts_.insert({job.latest_start_ns, job.spec.id});
  touched_groups_.insert(key);
  WaitForWeights(job, true);
}

void Scheduler::Dequeue(Job& job) {
  const GroupKey key = GroupOf(job);
  QueueOf(job).Remove(job, fair_.Protected(job.spec.tenant));
  if (job.replica == kNowhere) groups_[key].waiting_work[job.waits_late].Remove(job.wait_ns);
  job.waits = false;
  WaitForWeights(job, false);
  if (!job.waits_late) latest_starts_.erase({job.latest_start_ns, job.spec.id});
  const auto it = groups_of_.find(job.spec.tenant);
  if (--it->second[key] > 0) return;
  it->second.erase(key);
  if (it->second.empty()) groups_of_.erase(it);
}

void Scheduler::Unplace(Job& job) {
  if (job.placed_on == kNowhere) return;
  const auto it = replicas_.find(job.placed_on);
  if (it != replicas_.end()) {
    it->second.timeline.Remove(job.spec.id);
    if (!job.opened) --it->second.to_open;
    PinWeights(job.placed_on, job, false);
  }
  job.placed_on = kNowhere;
}

void Scheduler::MoveLate() {
  while (!latest_starts_.empty() && latest_starts_.begin()->first < now_ns_) {
    Job& job = jobs_.at(latest_starts_.begin()->second);
    latest_starts_.erase(latest_starts_.begin());
    WaitQueue& queue = QueueOf(job);
    const bool is_protected = fair_.Protected(job.spec.tenant);
    queue.Remove(job, is_protected);
    job.waits_late = true;
    queue.Add(job, is_protected);
    if (job.replica != kNowhere) continue;
    Group& group = groups_[GroupOf(job)];
    group.waiting_work[false].Remove(job.wait_ns);
    group.waiting_work[true].Add(job.wait_ns);
  }
}

void Scheduler::MoveProtected() {
  fair_.TakeChanges(changed_);
  // A tenant that went over the gate and back, or twice, is where it is now: queues are told of
  // the net change only.
  std::sort(changed_.begin(), changed_.end());
  for (size_t i = 0; i < changed_.size();) {
    size_t end = i;
    while (end < changed_.size() && changed_[end] == changed_[i]) ++end;
    const auto groups = groups_of_.find(changed_[i]);
    if ((end - i) % 2 == 1 && groups != groups_of_.end()) {
      const bool is_protected = fair_.Protected(changed_[i]);
      for (const auto& [key, count] : groups->second) {
        Group& group = groups_[key];
        group.queue.SetProtected(changed_[i], is_protected);
        for (auto& [bits, queue] : group.started) queue.SetProtected(changed_[i], is_protected);
      }
    }
    i = end;
  }
}

void Scheduler::Rekey(Group& group, const GroupKey& key) {
  if (group.queue.empty() || key.media) return;
  std::vector<JobId> waiting;
  for (int lane = 0; lane < kLanes; ++lane) {
    group.queue.Visit(static_cast<Lane>(lane), [&](JobId id) {
      waiting.push_back(id);
      return true;
    });
  }
  for (const JobId id : waiting) {
    Job& job = jobs_.at(id);
    Dequeue(job);
    SetCost(job, group.hardware);
    Enqueue(job);
  }
}

void Scheduler::SetHungry(ReplicaId id, const Replica& replica, bool add) {
  const int plans = static_cast<int>(replica.plans.size());
  for (const GroupKey& key : replica.groups) {
    auto& hungry = groups_[key].hungry;
    if (add && plans < replica.spec.plans_in_flight_max) {
      hungry.insert({plans, id});
    } else {
      hungry.erase({plans, id});
    }
  }
}

int Scheduler::RankOf(bool late, bool is_protected) const {
  if (config_.priority == Priority::kStrict) return (is_protected ? 0 : 2) + (late ? 1 : 0);
  return (late ? 2 : 0) + (is_protected ? 0 : 1);
}

Lane Scheduler::LaneOfRank(int rank) const {
  const bool strict = config_.priority == Priority::kStrict;
  const bool high = rank >= 2;
  const bool low = rank % 2 == 1;
  const bool late = strict ? low : high;
  const bool is_protected = strict ? !high : !low;
  if (late) return is_protected ? Lane::kLateProtected : Lane::kLateUnprotected;
  return is_protected ? Lane::kFeasibleProtected : Lane::kFeasibleUnprotected;
}

const CostTable& Scheduler::CostOf(int64_t hardware, ModelId model) const {
  static const CostTable* const guess = new CostTable({});  // never destroyed
  const auto it = costs_.find({hardware, model});
  return it == costs_.end() ? *guess : it->second;
}

CostTable& Scheduler::CostOf(const Replica& replica, ModelId model, int32_t degree) {
  if (degree > 1) return degree_costs_.at({replica.spec.hardware, model, degree});
  const bool any = replica.spec.models.empty() && replica.spec.weights_bytes == 0;
  const auto key = std::pair<int64_t, ModelId>(replica.spec.hardware, any ? 0 : model);
  return costs_.try_emplace(key, replica.spec.cost).first->second;
}

const CostTable* Scheduler::CostAt(int64_t hardware, ModelId model, int32_t degree) const {
  if (degree == 1) return &CostOf(hardware, model);
  const auto it = degree_costs_.find({hardware, model, degree});
  return it == degree_costs_.end() ? nullptr : &it->second;
}

// ---- questions ----

int64_t Scheduler::JobsAhead(JobId id) const {
  const auto it = jobs_.find(id);
  if (it == jobs_.end() || !it->second.waits || it->second.replica != kNowhere) return 0;
  const Job& job = it->second;
  const WaitQueue& queue = groups_.find(GroupOf(job))->second.queue;
  int64_t ahead = 0;
  bool found = false;
  // One tenant's jobs share its protection, so that those in time come before the late ones.
  for (const bool late : {false, true}) {
    queue.VisitTenant(job.spec.tenant, late, [&](JobId other) {
      found = other == id;
      return !found && ++ahead < kJobsAheadMax;
    });
    if (found || ahead >= kJobsAheadMax) break;
  }
  return ahead;
}

int64_t Scheduler::PredictRemaining(JobId id) const {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return 0;
  const Job& job = it->second;
  const auto replica = replicas_.find(job.replica);
  if (replica == replicas_.end()) return 0;
  const auto& plans = replica->second.plans;
  const CostTable& cost = CostOf(replica->second.spec.hardware, job.spec.model);
  // A step takes as long as the batch it is in.
  int64_t batch_tokens = Tokens(job.spec, Stage::kDenoise);
  if (!plans.empty() && plans.back().stage == Stage::kDenoise) {
    batch_tokens = std::max(batch_tokens, plans.back().tokens);
  }
  const auto step_ns = static_cast<double>(cost.Predict(Stage::kDenoise, batch_tokens));
  return OtherNanosLeft(job) + static_cast<int64_t>(StepsLeft(job) * step_ns);
}

std::vector<std::string> Scheduler::BrokenInvariants() const {
  std::vector<std::string> broken;
  size_t waiting = 0;
  const auto is_protected = [this](TenantId tenant) { return fair_.Protected(tenant); };
  for (const auto& [id, job] : jobs_) {
    const bool resident = job.replica != kNowhere;
    const bool placed = !resident && job.placed_on != kNowhere;
    const bool in_media_pool = !resident && job.in_media && job.in_flight > 0;
    const bool waits = job.waits && !resident;
    const bool held = job.spec.held && !placed;
    waiting += job.waits;
    const int places = waits + resident + placed + in_media_pool + held;
    if (places != 1) broken.push_back(absl::StrCat("job ", id, " is in ", places, " places"));
    if (resident && job.waits && !MayMove(job)) {
      broken.push_back(absl::StrCat("job ", id, " is offered to others and may not move"));
    }
    const auto replica = replicas_.find(job.replica);
    if (resident && (replica == replicas_.end() || !replica->second.residents.contains(id))) {
      broken.push_back(absl::StrCat("job ", id, " believes in a slot that is not its"));
    }
  }
  for (const auto& [key, group] : groups_) {
    waiting -= group.queue.size();
    bool agrees = group.queue.AgreesWith(is_protected);
    for (const auto& [bits, queue] : group.started) {
      waiting -= queue.size();
      agrees = agrees && queue.AgreesWith(is_protected);
    }
    if (!agrees) broken.push_back(absl::StrCat("a queue of model ", key.model, " has lanes wrong"));
  }
  if (waiting != 0) broken.emplace_back("queues hold other jobs than those that wait");
  size_t residents = 0;
  for (const auto& [id, replica] : replicas_) {
    residents += replica.residents.size();
    if (static_cast<int>(replica.plans.size()) > replica.spec.plans_in_flight_max) {
      broken.push_back(absl::StrCat("replica ", id, " has too many plans"));
    }
    const auto helped = replicas_.find(replica.helps);
    if (replica.helps != kNowhere && (helped == replicas_.end() || !replica.plans.empty())) {
      broken.push_back(absl::StrCat("replica ", id, " helps nobody, or has plans of its own"));
    }
    if (replica.residents.size() + replica.free_slots.size() !=
        static_cast<size_t>(replica.spec.slots)) {
      broken.push_back(absl::StrCat("replica ", id, " lost count of its slots"));
    }
    int to_open = 0;
    for (const auto& entry : replica.timeline.entries()) {
      to_open += jobs_.at(entry.job).replica == kNowhere ? 1 : 0;
    }
    if (to_open != replica.to_open) {
      broken.push_back(absl::StrCat("replica ", id, " lost count of its guarantees"));
    }
  }
  for (std::string& what : residency_.BrokenInvariants()) broken.push_back(std::move(what));
  if (residents != running_) broken.emplace_back("lost count of the running jobs");
  return broken;
}

}  // namespace darkroom::scheduler
