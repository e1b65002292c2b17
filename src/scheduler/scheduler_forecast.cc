// When jobs will run, if nothing else comes.

#include <algorithm>
#include <utility>

#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

// What is left of the job in stages [first, last).
int64_t StagesLeft(const Job& job, Stage first, Stage last) {
  int64_t nanos = 0;
  const int begin = std::max(static_cast<int>(job.next.stage), static_cast<int>(first));
  for (int stage = begin; stage < static_cast<int>(last); ++stage) {
    if (Needs(job.spec, static_cast<Stage>(stage))) nanos += job.cost.stage_ns[stage];
  }
  return nanos;
}

}  // namespace

ForecastJob Scheduler::Snapshot(const Job& job, int replica) const {
  ForecastJob copy;
  copy.id = job.spec.id;
  copy.tenant = job.spec.tenant;
  copy.is_protected = fair_.Protected(job.spec.tenant);
  copy.exclusive = job.spec.isolation != Isolation::kShared;
  copy.key_ns = OrderKey(job);
  copy.latest_start_ns = job.spec.deadline_ns - SoonestNanosLeft(job);
  copy.tokens = Tokens(job.spec, Stage::kDenoise);
  copy.steps = StepsLeft(job);
  copy.before_ns = StagesLeft(job, Stage::kEncode, Stage::kDenoise);
  copy.after_ns = StagesLeft(job, Stage::kDecode, Stage::kMediaEncode);
  copy.replica = replica;
  return copy;
}

void Scheduler::SnapshotReplicas(const std::vector<std::pair<ReplicaId, int64_t>>& serving,
                                 ModelId wanted, std::vector<ForecastReplica>& replicas,
                                 std::vector<ForecastJob>& jobs) const {
  for (const auto& [id, from_ns] : serving) {
    if (static_cast<int>(replicas.size()) == kForecastReplicasMax) break;
    const Replica& replica = replicas_.at(id);
    const int index = static_cast<int>(replicas.size());
    ForecastReplica copy;
    copy.busy_until_ns = std::max(from_ns, replica.BusyUntil(now_ns_, 1.0));
    copy.tokens_max = replica.spec.step_tokens_max;
    copy.slots = std::max(0, static_cast<int>(replica.free_slots.size()) - replica.to_open);
    copy.slots_per_tenant = SlotsPerTenant(replica.spec);
    const ModelId first = replica.spec.models.empty() ? 0 : replica.spec.models.front();
    const ModelId model = replica.spec.weights_bytes > 0 ? wanted : first;
    copy.cost = &CostOf(replica.spec.hardware, model);
    replicas.push_back(copy);
    const auto add = [&](JobId job_id) {
      const Job& job = jobs_.at(job_id);
      // Past its last stage here it only waits for its plan to come back.
      if (job.next.stage != Stage::kMediaEncode) jobs.push_back(Snapshot(job, index));
    };
    for (const JobId resident : replica.residents) add(resident);
    for (const Timeline::Entry& entry : replica.timeline.entries()) {
      if (jobs_.at(entry.job).replica == kNowhere) add(entry.job);
    }
  }
}

bool Scheduler::SnapshotWaiting(const Group& group, std::vector<ForecastJob>& jobs) const {
  // A part of what waits, where the replicas are a part of all.
  const size_t replicas = std::max<size_t>(1, group.replicas.size());
  const size_t stride =
      (replicas + kForecastReplicasMax - 1) / static_cast<size_t>(kForecastReplicasMax);
  size_t seen = 0;
  int played = 0;
  for (int rank = 0; rank < kLanes && played < kForecastJobsMax; ++rank) {
    group.queue.Visit(LaneOfRank(rank), [&](JobId id) {
      if (seen++ % stride == 0) {
        jobs.push_back(Snapshot(jobs_.at(id), -1));
        ++played;
      }
      return played < kForecastJobsMax;
    });
  }
  return seen == group.queue.size();
}

Forecast Scheduler::Predict(absl::Span<const JobId> ids) const {
  Forecast forecast;
  std::vector<const Job*> wanted;
  for (const JobId id : ids) {
    const auto it = jobs_.find(id);
    if (it != jobs_.end() && !it->second.in_media) wanted.push_back(&it->second);
  }
  if (wanted.empty()) return forecast;
  const GroupKey key = GroupOf(*wanted.front());
  const auto group = groups_.find(key);
  const auto serving = ServesSoon(key);
  if (group == groups_.end() || serving.empty()) {
    forecast.wait = Forecast::Wait::kNoReplica;
    return forecast;
  }
  std::vector<ForecastJob> jobs;
  std::vector<ForecastReplica> replicas;
  SnapshotReplicas(serving, key.model, replicas, jobs);
  int64_t first_ns = kNoDeadline;
  for (const ForecastReplica& replica : replicas) {
    first_ns = std::min(first_ns, replica.busy_until_ns);
  }
  const bool all = SnapshotWaiting(group->second, jobs);

  ForecastLimits limits{config_.priority, -1};
  const TenantId tenant_id = wanted.front()->spec.tenant;
  if (const auto tenant = tenants_.find(tenant_id);
      tenant != tenants_.end() && tenant->second.limits.running_max > 0) {
    limits.tenant_slots =
        std::max<int64_t>(0, tenant->second.limits.running_max - tenant->second.running);
  }
  const Job* beyond = nullptr;
  for (const Job* job : wanted) {
    const auto it = std::find_if(jobs.begin(), jobs.end(),
                                 [&](const ForecastJob& copy) { return copy.id == job->spec.id; });
    if (it != jobs.end()) {
      it->wanted = true;
    } else if (job->spec.held && (all || OrderKey(*job) < jobs.back().key_ns)) {
      jobs.push_back(Snapshot(*job, -1));
      jobs.back().wanted = true;
    } else {
      beyond = job;
    }
  }
  if (beyond != nullptr) return BeyondPlay(*beyond, group->second, jobs, replicas);

  const ForecastResult result = RunForecast(std::move(jobs), std::move(replicas), limits);
  forecast.start_ns = result.start_ns;
  forecast.end_ns = result.end_ns;
  if (group->second.replicas.empty()) {
    forecast.wait = Forecast::Wait::kNoReplica;
  } else if (result.start_ns <= first_ns) {
    forecast.wait = Forecast::Wait::kNone;
  } else if (result.by_tenant_slots) {
    forecast.wait = Forecast::Wait::kTenantLimit;
  } else {
    forecast.wait = result.late ? Forecast::Wait::kLate : Forecast::Wait::kCapacity;
  }
  return forecast;
}

Forecast Scheduler::BeyondPlay(const Job& job, const Group& group,
                               const std::vector<ForecastJob>& jobs,
                               const std::vector<ForecastReplica>& replicas) const {
  std::vector<ForecastJob> ahead = jobs;
  int64_t played_ns = 0;
  int64_t waiting_ns = 0;
  for (ForecastJob& copy : ahead) {
    copy.wanted = false;
    const int64_t left_ns = NanosLeft(jobs_.at(copy.id));
    played_ns += left_ns;
    if (copy.replica < 0) waiting_ns += left_ns;
  }
  const ForecastResult result = RunForecast(std::move(ahead), replicas, {config_.priority, -1});
  Forecast forecast;
  forecast.wait = Forecast::Wait::kCapacity;
  if (result.all_done_ns == kNoDeadline) return forecast;
  const int64_t key_ns = NanosLeft(job);
  int64_t ahead_ns = group.waiting_work[0].UpTo(job.waits_late ? INT64_MAX : key_ns);
  if (job.waits_late) ahead_ns += group.waiting_work[1].UpTo(key_ns);
  if (job.waits) ahead_ns -= job.wait_ns;
  // As fast as what was played, which is packed as this will be.
  const double pace = static_cast<double>(result.all_done_ns - now_ns_) /
                      static_cast<double>(std::max<int64_t>(1, played_ns));
  const int64_t rest_ns = std::max<int64_t>(0, ahead_ns - waiting_ns);
  forecast.start_ns =
      result.all_done_ns + static_cast<int64_t>(static_cast<double>(rest_ns) * pace);
  int64_t tokens_max = 1;
  for (const ForecastReplica& replica : replicas) {
    tokens_max = std::max(tokens_max, replica.tokens_max);
  }
  const int64_t step_ns = replicas.front().cost->Predict(
      Stage::kDenoise, std::max(tokens_max, Tokens(job.spec, Stage::kDenoise)));
  forecast.end_ns = forecast.start_ns + OtherNanosLeft(job) +
                    static_cast<int64_t>(StepsLeft(job) * static_cast<double>(step_ns));
  if (forecast.start_ns > job.spec.deadline_ns - SoonestNanosLeft(job)) {
    forecast.wait = Forecast::Wait::kLate;
  }
  return forecast;
}

int64_t Scheduler::NanosAlone(JobId id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? 0 : NanosLeft(it->second);
}

int64_t Scheduler::StepNanosAlone(JobId id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? 0 : it->second.cost.stage_ns[static_cast<int>(Stage::kDenoise)];
}

int64_t Scheduler::DeadlineOf(JobId id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? kNoDeadline : it->second.spec.deadline_ns;
}

Scheduler::TenantView Scheduler::ViewOf(TenantId tenant) const {
  TenantView view;
  view.virtual_ns = fair_.VirtualTime(tenant);
  view.is_protected = fair_.WouldBeProtected(tenant);
  const auto it = tenants_.find(tenant);
  if (it == tenants_.end()) return view;
  view.running = it->second.running;
  view.waiting = static_cast<int64_t>(it->second.jobs.size()) - view.running;
  return view;
}

std::vector<Scheduler::CostView> Scheduler::Costs() const {
  std::vector<CostView> costs;
  for (const auto& [key, table] : costs_) costs.push_back({key.first, key.second, &table});
  return costs;
}

}  // namespace darkroom::scheduler
