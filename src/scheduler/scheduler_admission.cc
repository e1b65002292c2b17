// Whether a job is taken, and what it is promised.

#include <algorithm>
#include <cmath>

#include "scheduler/limits.h"
#include "scheduler/mutation.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {

std::optional<JobRefused> Scheduler::Refuse(const JobSpec& spec) {
  if (jobs_.size() >= kJobsMax) return JobRefused{spec.id, Refusal::kOverload};
  if (spec.deadline_ns <= now_ns_) return JobRefused{spec.id, Refusal::kDeadlinePassed};
  const auto it = tenants_.find(spec.tenant);
  if (it == tenants_.end()) return std::nullopt;
  Tenant& tenant = it->second;
  if (tenant.limits.jobs_max > 0 &&
      static_cast<int64_t>(tenant.jobs.size()) >= tenant.limits.jobs_max) {
    // When the first of its jobs that is furthest along will have ended.
    int64_t wait_ns = kNoDeadline;
    int looked_at = 0;
    for (const JobId id : tenant.jobs) {
      wait_ns = std::min(wait_ns, NanosLeft(jobs_.at(id)));
      if (++looked_at == kCandidatesMax) break;
    }
    return JobRefused{spec.id, Refusal::kTenantJobsFull, wait_ns};
  }
  // Asked last, so that what is refused for another reason takes no token.
  if (tenant.bucket && !tenant.bucket->Take(now_ns_)) {
    return JobRefused{spec.id, Refusal::kTenantRate, tenant.bucket->Wait(now_ns_)};
  }
  return std::nullopt;
}

std::optional<JobRefused> Scheduler::RefuseByDeadline(const Job& job) const {
  // Best effort is taken whatever happens; it may be late.
  if (job.spec.service_class == ServiceClass::kBestEffort) return std::nullopt;
  const int64_t wait_ns = LoadWait(job);
  const int64_t needed_ns = SoonestNanosLeft(job) + (wait_ns == kNoDeadline ? 0 : wait_ns);
  if (needed_ns <= job.spec.deadline_ns - now_ns_) return std::nullopt;
  const int64_t after_ns = job.spec.deadline_ns - now_ns_ - (wait_ns == kNoDeadline ? 0 : wait_ns);
  const auto room_ns = static_cast<double>(after_ns) / (1.0 + job.epsilon) -
                       static_cast<double>(OtherNanosLeft(job));
  const auto step_ns = static_cast<double>(job.cost.fastest_step_ns);
  JobRefused refused{job.spec.id, Refusal::kDeadlineTooSoon};
  refused.offered_deadline_ns = now_ns_ + needed_ns;
  refused.offered_steps = static_cast<int32_t>(std::max(0.0, std::floor(room_ns / step_ns)));
  return refused;
}

bool Scheduler::Place(Job& job, int64_t& earliest_ns) {
  const auto it = groups_.find(GroupOf(job));
  earliest_ns = kNoDeadline;
  if (it == groups_.end()) return false;
  Group& group = it->second;
  const double capacity = 1.0 - config_.reserve_share;
  auto at = group.replicas.lower_bound(group.next_placement);
  const int tries = std::min<int>(kPlacementTriesMax, static_cast<int>(group.replicas.size()));
  for (int i = 0; i < tries; ++i, ++at) {
    if (at == group.replicas.end()) at = group.replicas.begin();
    Replica& replica = replicas_.at(*at);
    const bool other_bits = job.numerics != 0 && job.numerics != replica.spec.numerics;
    const bool full = static_cast<int>(replica.free_slots.size()) <= replica.to_open;
    if (other_bits || full) continue;
    const int64_t start_ns = replica.BusyUntil(now_ns_, 1.0 + cost_error_.Epsilon());
    const Timeline::Entry entry{job.spec.id, job.spec.deadline_ns, SafeNanosLeft(job)};
    if (!replica.timeline.Fits(entry, start_ns, capacity) && !Broken(Rule::kTimeline)) {
      earliest_ns = std::min(earliest_ns,
                             replica.timeline.EarliestDeadline(entry.left_ns, start_ns, capacity));
      continue;
    }
    replica.timeline.Add(entry);
    ++replica.to_open;
    PinWeights(*at, job, true);
    job.placed_on = *at;
    job.opened = false;
    group.next_placement = *at + 1;
    touched_replicas_.insert(*at);
    return true;
  }
  return false;
}

void Scheduler::SetCost(Job& job, int64_t hardware) const {
  const JobSpec& spec = job.spec;
  const CostTable& table = CostOf(hardware, spec.model);
  JobCost cost;
  for (int stage = 0; stage < kStages; ++stage) {
    const auto of = static_cast<Stage>(stage);
    // What a job needs after its replica is the media pool's, which has costs of its own.
    if (of == Stage::kMediaEncode || !Needs(spec, of)) continue;
    cost.stage_ns[stage] = table.Predict(of, Tokens(spec, of), spec.adapter == 0 ? 0 : 1);
  }
  cost.fastest_step_ns =
      FastestStep(job, hardware, cost.stage_ns[static_cast<int>(Stage::kDenoise)]);
  job.cost = cost;
  if (config_.size_weight == 1.0) return;
  // In milliseconds, so that a place in the order keeps its digits as a whole number.
  const double step_ms =
      static_cast<double>(cost.stage_ns[static_cast<int>(Stage::kDenoise)]) / 1e6;
  job.size_factor = std::pow(std::max(step_ms, 1e-3), config_.size_weight - 1.0);
}

void Scheduler::FillDeadline(Job& job) const {
  if (job.spec.deadline_ns != kNoDeadline) return;
  double slack = config_.best_effort_slack;
  if (job.spec.service_class == ServiceClass::kTarget) slack = config_.target_slack;
  if (job.spec.service_class == ServiceClass::kGuaranteed) slack = config_.guaranteed_slack;
  const int64_t wait_ns = LoadWait(job);
  job.spec.deadline_ns = job.arrival_ns + config_.deadline_grace_ns +
                         (wait_ns == kNoDeadline ? 0 : wait_ns) +
                         static_cast<int64_t>(slack * static_cast<double>(NanosLeft(job)));
}

}  // namespace darkroom::scheduler
