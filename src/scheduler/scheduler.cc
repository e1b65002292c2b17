#include "scheduler/scheduler.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "scheduler/charge_split.h"
#include "scheduler/limits.h"

namespace darkroom::scheduler {
namespace {

bool Serves(const ReplicaSpec& spec, Stage stage) {
  return (spec.stages & (1u << static_cast<int>(stage))) != 0;
}

bool Serves(const ReplicaSpec& spec, ModelId model) {
  return spec.any_model ||
         std::find(spec.models.begin(), spec.models.end(), model) != spec.models.end();
}

// One tenant leaves this share of a replica's slots to the others, who could otherwise wait for a
// whole job of its.
int SlotsPerTenant(const ReplicaSpec& spec) {
  return spec.slots < 4 ? spec.slots : spec.slots - spec.slots / 4;
}

}  // namespace

void Scheduler::Handle(const Event& event, int64_t /*now_ns*/, std::vector<Command>& commands) {
  std::visit([&](const auto& e) { On(e, commands); }, event);
  Dispatch(commands);
}

// ---- events ----

void Scheduler::On(const ReplicaAttached& event, std::vector<Command>&) {
  Replica& replica = replicas_[event.replica];
  replica = Replica{};
  replica.spec = event.spec;
  replica.spec.plans_in_flight_max =
      std::clamp(event.spec.plans_in_flight_max, 1, kPlansInFlightMax);
  replica.cost = CostTable(event.spec.cost);
  for (int32_t slot = 0; slot < event.spec.slots; ++slot) replica.free_slots.insert(slot);
}

void Scheduler::On(const ReplicaLost& event, std::vector<Command>& commands) {
  const auto it = replicas_.find(event.replica);
  if (it == replicas_.end()) return;
  // Suspects are the jobs of the oldest plan, which is the one that ran.
  std::map<JobId, Position> suspects;
  std::set<JobId> stranded = it->second.residents;
  for (const Plan& plan : it->second.plans) {
    for (const PlanItem& item : plan.items) {
      // Work that was lost is not the tenant's to pay.
      fair_.Charge(item.tenant, -item.predicted_share_ns);
      stranded.insert(item.job);
      if (plan.sequence == it->second.plans.front().sequence) suspects[item.job] = item.at;
    }
  }
  replicas_.erase(it);
  for (const JobId id : stranded) {
    const auto job = jobs_.find(id);
    if (job == jobs_.end()) continue;
    const auto suspect = suspects.find(id);
    if (suspect != suspects.end()) Suspect(job->second, suspect->second);
    Requeue(job->second, commands);
  }
}

void Scheduler::On(const TenantWeight& event, std::vector<Command>&) {
  fair_.SetWeight(event.tenant, event.weight);
}

void Scheduler::On(const JobSubmitted& event, std::vector<Command>&) {
  Job& job = jobs_[event.spec.id];
  job.spec = event.spec;
  job.arrival = ++last_arrival_;
  fair_.AddJob(job.spec.tenant);
  Enqueue(job);
}

void Scheduler::On(const JobEnded& event, std::vector<Command>& commands) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end()) return;
  Job& job = it->second;
  if (job.replica != kNowhere) {
    LeaveSlot(job, commands);
  } else if (job.in_flight == 0) {
    Dequeue(job);
  }
  fair_.RemoveJob(job.spec.tenant);
  jobs_.erase(it);
}

void Scheduler::On(const PlanFinished& event, std::vector<Command>& commands) {
  const auto it = replicas_.find(event.replica);
  if (it == replicas_.end()) return;
  Replica& replica = it->second;
  const auto plan_it =
      std::find_if(replica.plans.begin(), replica.plans.end(),
                   [&](const Plan& plan) { return plan.sequence == event.sequence; });
  if (plan_it == replica.plans.end()) return;
  const Plan plan = std::move(*plan_it);
  replica.plans.erase(plan_it);

  // Only what ran is charged, in proportion to its tokens.
  std::vector<int64_t> weights(plan.items.size(), 0);
  int64_t tokens_run = 0;
  for (size_t i = 0; i < plan.items.size() && i < event.items.size(); ++i) {
    if (event.items[i].outcome != PlanFinished::Outcome::kSkipped) {
      weights[i] = plan.items[i].tokens;
      tokens_run += weights[i];
    }
  }
  if (tokens_run > 0) replica.cost.Observe(plan.stage, tokens_run, event.duration_ns);
  const std::vector<int64_t> shares = SplitExactly(event.duration_ns, weights);
  for (size_t i = 0; i < plan.items.size() && i < event.items.size(); ++i) {
    const PlanItem& item = plan.items[i];
    fair_.Charge(item.tenant, shares[i] - item.predicted_share_ns);
    FinishItem(item, event.items[i], shares[i], commands);
  }
}

void Scheduler::FinishItem(const PlanItem& item, const PlanFinished::Item& result, int64_t nanos,
                           std::vector<Command>& commands) {
  if (nanos > 0) commands.push_back(Charge{item.job, item.at.stage, nanos});
  const auto it = jobs_.find(item.job);
  if (it == jobs_.end()) return;  // cancelled while it ran
  Job& job = it->second;
  --job.in_flight;
  // A failed job stays until its engine says JobEnded; a skipped one has a new lease already.
  if (result.outcome != PlanFinished::Outcome::kDone) return;

  if (result.checkpointed) job.checkpoint_step = item.at.step + 1;
  if (job.crashes > 0 && item.at >= job.crashed_at) job.crashes = 0;
  if (item.at.stage == Stage::kDecode) {
    // The pixels have left the replica; only the media pool is needed from here.
    LeaveSlot(job, commands);
    Enqueue(job);
  } else if (item.at.stage == Stage::kMediaEncode) {
    commands.push_back(JobFinished{item.job});
    fair_.RemoveJob(job.spec.tenant);
    jobs_.erase(it);
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
    fair_.RemoveJob(job.spec.tenant);
    jobs_.erase(job.spec.id);
    return;
  }
  job.replica = kNowhere;
  job.in_flight = 0;
  job.next = Position{Stage::kEncode, job.checkpoint_step};
  if (job.checkpoint_step == 0) job.numerics = 0;
  Enqueue(job);
  commands.push_back(JobRequeued{job.spec.id, job.checkpoint_step});
}

// ---- forming batches ----

void Scheduler::Dispatch(std::vector<Command>& commands) {
  // Round by round, so that an idle replica gets its first plan before another its second.
  for (int depth = 1; depth <= kPlansInFlightMax; ++depth) {
    bool any = false;
    for (auto& [id, replica] : replicas_) {
      if (static_cast<int>(replica.plans.size()) >= depth) {
        any = any || static_cast<int>(replica.plans.size()) < replica.spec.plans_in_flight_max;
        continue;
      }
      if (depth <= replica.spec.plans_in_flight_max && DispatchOne(id, replica, commands)) {
        any = true;
      }
    }
    if (!any) return;
  }
}

bool Scheduler::DispatchOne(ReplicaId id, Replica& replica, std::vector<Command>& commands) {
  std::vector<JobId> batch;
  if (Serves(replica.spec, Stage::kMediaEncode)) batch = ChooseMedia(replica);
  if (batch.empty() && Serves(replica.spec, Stage::kEncode)) batch = ChooseNewcomers(replica);
  if (batch.empty()) batch = ChooseResidents(replica);
  if (batch.empty()) return false;
  SendPlan(id, replica, jobs_.at(batch.front()).next.stage, batch, commands);
  return true;
}

std::vector<JobId> Scheduler::ChooseMedia(const Replica& replica) const {
  Candidates candidates;
  for (const auto& [tenant, queue] : media_) {
    for (const auto& [arrival, id] : queue) {
      candidates[tenant].push_back(id);
      break;  // one picture a plan: each is encoded by one thread
    }
  }
  return Pack(std::move(candidates), replica, Stage::kMediaEncode,
              std::numeric_limits<int64_t>::max(), 1);
}

std::vector<JobId> Scheduler::ChooseNewcomers(const Replica& replica) const {
  if (replica.free_slots.empty() || waiting_.empty()) return {};
  int64_t room = replica.spec.step_tokens_max;
  double most_served = -std::numeric_limits<double>::infinity();
  for (const JobId id : replica.residents) {
    const Job& job = jobs_.at(id);
    most_served = std::max(most_served, fair_.VirtualTime(job.spec.tenant));
    if (job.next.stage <= Stage::kDenoise) room -= job.spec.step_tokens;
  }
  Candidates candidates;
  for (const auto& [tenant, queue] : waiting_) {
    const auto of = replica.residents_of.find(tenant);
    const int held = of == replica.residents_of.end() ? 0 : of->second;
    int places = std::min<int>(SlotsPerTenant(replica.spec) - held,
                               static_cast<int>(replica.free_slots.size()));
    for (const auto& [arrival, id] : queue) {
      if (places <= 0) break;
      const Job& job = jobs_.at(id);
      if (!Serves(replica.spec, job.spec.model)) continue;
      if (job.numerics != 0 && job.numerics != replica.spec.numerics) continue;
      // It fits into the batch, or its tenant has been served less than one that is in there, or
      // nothing is in there.
      const bool overtakes = held == 0 && fair_.VirtualTime(tenant) < most_served;
      if (job.spec.step_tokens > room && !overtakes && !replica.residents.empty()) continue;
      candidates[tenant].push_back(id);
      --places;
    }
  }
  const int jobs_max = std::min<int>(kEncodeJobsMax, static_cast<int>(replica.free_slots.size()));
  // With residents aboard, newcomers come one budget's worth at a time; the first always comes.
  return Pack(std::move(candidates), replica, Stage::kEncode, std::max<int64_t>(room, 1), jobs_max);
}

std::vector<JobId> Scheduler::ChooseResidents(const Replica& replica) const {
  std::map<Stage, Candidates, std::greater<>> by_stage;  // later stages first
  for (const JobId id : replica.residents) {
    const Job& job = jobs_.at(id);
    if (Serves(replica.spec, job.next.stage)) {
      by_stage[job.next.stage][job.spec.tenant].push_back(id);
    }
  }
  // The least served tenant decides which stage runs; of its own, the later stage.
  Stage stage = Stage::kDenoise;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [candidate, tenants] : by_stage) {
    for (const auto& [tenant, ids] : tenants) {
      if (fair_.VirtualTime(tenant) < least) {
        least = fair_.VirtualTime(tenant);
        stage = candidate;
      }
    }
  }
  if (!by_stage.contains(stage)) return {};
  for (auto& [tenant, ids] : by_stage[stage]) {
    std::sort(ids.begin(), ids.end(),
              [&](JobId a, JobId b) { return jobs_.at(a).arrival < jobs_.at(b).arrival; });
  }
  // The autoencoder takes images one after the other, so more than one in a plan would only
  // lengthen the quantum.
  const bool one_by_one = stage == Stage::kDecode || stage == Stage::kImageEncode;
  const int jobs_max = one_by_one ? 1 : kPlanJobsMax;
  return Pack(std::move(by_stage[stage]), replica, stage, replica.spec.step_tokens_max, jobs_max);
}

std::vector<JobId> Scheduler::Pack(Candidates candidates, const Replica& replica, Stage stage,
                                   int64_t tokens_max, int jobs_max) const {
  std::vector<JobId> batch;
  int64_t tokens = 0;
  std::map<TenantId, double> virtual_time;
  std::map<TenantId, size_t> cursor;
  for (const auto& [tenant, ids] : candidates) virtual_time[tenant] = fair_.VirtualTime(tenant);
  while (static_cast<int>(batch.size()) < jobs_max && !virtual_time.empty()) {
    const auto next =
        std::min_element(virtual_time.begin(), virtual_time.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    const TenantId tenant = next->first;
    const auto& ids = candidates[tenant];
    const size_t i = cursor[tenant]++;
    if (i >= ids.size()) {
      virtual_time.erase(next);
      continue;
    }
    const Job& job = jobs_.at(ids[i]);
    // Newcomers are weighed by the denoising that they bring along.
    const int64_t job_tokens =
        stage == Stage::kEncode ? job.spec.step_tokens : Tokens(job.spec, stage);
    // The first always goes, however large: nothing else could ever make room for it.
    if (!batch.empty() && (tokens + job_tokens > tokens_max || !MayJoin(batch, job))) continue;
    batch.push_back(ids[i]);
    tokens += job_tokens;
    next->second += fair_.Cost(tenant, replica.cost.Predict(stage, job_tokens));
  }
  return batch;
}

bool Scheduler::MayJoin(const std::vector<JobId>& batch, const Job& job) const {
  for (const JobId id : batch) {
    const Job& other = jobs_.at(id);
    if (other.spec.model != job.spec.model) return false;
    // A job that was there when a worker died runs alone until it is past that point.
    if (other.crashes > 0 || job.crashes > 0) return false;
    if (other.spec.tenant != job.spec.tenant &&
        (other.spec.isolation != Isolation::kShared || job.spec.isolation != Isolation::kShared)) {
      return false;
    }
  }
  return true;
}

void Scheduler::SendPlan(ReplicaId id, Replica& replica, Stage stage,
                         const std::vector<JobId>& batch, std::vector<Command>& commands) {
  Plan plan{.sequence = ++replica.last_sequence, .stage = stage, .items = {}};
  RunPlan command{id, plan.sequence, stage, 0, {}};
  std::vector<int64_t> weights;
  for (const JobId job_id : batch) {
    Job& job = jobs_.at(job_id);
    if (stage == Stage::kEncode) {
      TakeSlot(id, replica, job, commands);
    } else if (stage == Stage::kMediaEncode) {
      Dequeue(job);
    }
    const int64_t tokens = Tokens(job.spec, stage);
    weights.push_back(tokens);
    plan.tokens += tokens;
    plan.items.push_back({job_id, job.spec.tenant, job.next, tokens, 0});
    const bool checkpoint = stage == Stage::kDenoise && job.next.step + 1 < job.spec.steps &&
                            (job.next.step + 1) % checkpoint_steps_ == 0;
    command.items.push_back({job_id, job.slot, job.epoch, job.next.step, checkpoint});
    ++job.in_flight;
    job.next = After(job.next, job.spec);
  }
  command.predicted_ns = replica.cost.Predict(stage, plan.tokens);
  const std::vector<int64_t> shares = SplitExactly(command.predicted_ns, weights);
  for (size_t i = 0; i < plan.items.size(); ++i) {
    plan.items[i].predicted_share_ns = shares[i];
    fair_.Charge(plan.items[i].tenant, shares[i]);
  }
  replica.plans.push_back(std::move(plan));
  commands.push_back(std::move(command));
}

// ---- slots and queues ----

void Scheduler::TakeSlot(ReplicaId id, Replica& replica, Job& job, std::vector<Command>& commands) {
  Dequeue(job);
  job.replica = id;
  job.slot = *replica.free_slots.begin();
  job.epoch = ++last_epoch_;
  job.numerics = replica.spec.numerics;
  replica.free_slots.erase(replica.free_slots.begin());
  replica.residents.insert(job.spec.id);
  ++replica.residents_of[job.spec.tenant];
  commands.push_back(OpenSlot{id, job.spec.id, job.slot, job.epoch, job.next.step});
}

void Scheduler::LeaveSlot(Job& job, std::vector<Command>& commands) {
  Replica& replica = replicas_.at(job.replica);
  commands.push_back(CloseSlot{job.replica, job.spec.id, job.slot, job.epoch});
  replica.free_slots.insert(job.slot);
  replica.residents.erase(job.spec.id);
  if (--replica.residents_of[job.spec.tenant] == 0) replica.residents_of.erase(job.spec.tenant);
  job.replica = kNowhere;
}

void Scheduler::Enqueue(const Job& job) {
  QueueOf(job.next.stage)[job.spec.tenant][job.arrival] = job.spec.id;
}

void Scheduler::Dequeue(const Job& job) {
  Queues& queues = QueueOf(job.next.stage);
  const auto it = queues.find(job.spec.tenant);
  if (it == queues.end()) return;
  it->second.erase(job.arrival);
  if (it->second.empty()) queues.erase(it);
}

Scheduler::Position Scheduler::After(const Position& at, const JobSpec& spec) {
  switch (at.stage) {
    case Stage::kEncode:
      return {spec.image_encode ? Stage::kImageEncode : Stage::kDenoise, at.step};
    case Stage::kImageEncode:
      return {Stage::kDenoise, at.step};
    case Stage::kDenoise:
      if (at.step + 1 < spec.steps) return {Stage::kDenoise, at.step + 1};
      return {Stage::kDecode, at.step + 1};
    case Stage::kDecode:
    case Stage::kMediaEncode:
      return {Stage::kMediaEncode, at.step};
  }
  return at;
}

int64_t Scheduler::Tokens(const JobSpec& spec, Stage stage) {
  switch (stage) {
    case Stage::kEncode:
      return 1;
    case Stage::kDenoise:
      return std::max<int64_t>(1, spec.step_tokens);
    case Stage::kImageEncode:
    case Stage::kDecode:
    case Stage::kMediaEncode:
      return std::max<int64_t>(1, spec.image_tokens);
  }
  return 1;
}

// ---- questions ----

int64_t Scheduler::JobsAhead(JobId id) const {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return 0;
  const auto queue = waiting_.find(it->second.spec.tenant);
  if (queue == waiting_.end()) return 0;
  return std::distance(queue->second.begin(), queue->second.lower_bound(it->second.arrival));
}

int64_t Scheduler::PredictRemaining(JobId id) const {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return 0;
  const Job& job = it->second;
  const auto replica = replicas_.find(job.replica);
  if (replica == replicas_.end()) return 0;
  const auto& plans = replica->second.plans;
  const CostTable& cost = replica->second.cost;
  // A step takes as long as the batch it is in.
  int64_t batch_tokens = job.spec.step_tokens;
  if (!plans.empty() && plans.back().stage == Stage::kDenoise) {
    batch_tokens = std::max(batch_tokens, plans.back().tokens);
  }
  const int64_t steps = job.next.stage <= Stage::kDenoise ? job.spec.steps - job.next.step : 0;
  const bool image_due = job.spec.image_encode && job.next.stage <= Stage::kImageEncode;
  return (image_due ? cost.Predict(Stage::kImageEncode, job.spec.image_tokens) : 0) +
         steps * cost.Predict(Stage::kDenoise, batch_tokens) +
         cost.Predict(Stage::kDecode, Tokens(job.spec, Stage::kDecode));
}

size_t Scheduler::running_count() const {
  size_t count = 0;
  for (const auto& [id, replica] : replicas_) count += replica.residents.size();
  return count;
}

std::vector<std::string> Scheduler::BrokenInvariants() const {
  std::vector<std::string> broken;
  for (const auto& [id, job] : jobs_) {
    const bool waits =
        waiting_.contains(job.spec.tenant) && waiting_.at(job.spec.tenant).contains(job.arrival);
    const bool media =
        media_.contains(job.spec.tenant) && media_.at(job.spec.tenant).contains(job.arrival);
    const bool resident = job.replica != kNowhere;
    const bool in_media_pool =
        !resident && job.next.stage == Stage::kMediaEncode && job.in_flight > 0;
    if (waits + media + resident + in_media_pool != 1) {
      broken.push_back(
          absl::StrCat("job ", id, " is in ", waits + media + resident + in_media_pool, " places"));
    }
    if (resident &&
        (!replicas_.contains(job.replica) || !replicas_.at(job.replica).residents.contains(id))) {
      broken.push_back(absl::StrCat("job ", id, " believes in a slot that is not its"));
    }
  }
  for (const auto& [id, replica] : replicas_) {
    if (static_cast<int>(replica.plans.size()) > replica.spec.plans_in_flight_max) {
      broken.push_back(absl::StrCat("replica ", id, " has too many plans"));
    }
    if (replica.residents.size() + replica.free_slots.size() !=
        static_cast<size_t>(replica.spec.slots)) {
      broken.push_back(absl::StrCat("replica ", id, " lost count of its slots"));
    }
  }
  return broken;
}

}  // namespace darkroom::scheduler
