#include "engine/controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/wall_time.h"
#include "engine/admission.h"
#include "engine/job_terms.h"
#include "engine/limits.h"
#include "scheduler/decision_log.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {
namespace {

TenantPolicy UnnamedTenant(const ControllerConfig& config) {
  TenantPolicy policy;
  policy.generations_max = config.generations_per_tenant_max;
  return policy;
}

FleetConfig WithDedicated(const ControllerConfig& config) {
  FleetConfig fleet = config.fleet;
  for (size_t i = 0; i < config.tenants.size(); ++i) {
    if (config.tenants[i].dedicated_workers == 0) continue;
    fleet.dedicated.push_back(
        {static_cast<scheduler::TenantId>(i + 1), config.tenants[i].dedicated_workers});
  }
  return fleet;
}

}  // namespace

Controller::Controller(ControllerConfig config)
    : config_(config),
      fleet_(WithDedicated(config)),
      tenants_(config.tenants, UnnamedTenant(config)),
      scheduler_(config.policy),
      costs_(config.costs) {
  scheduler_.set_checkpoint_steps(config_.checkpoint_steps);
}

void Controller::Start(Now now, Commands& commands) {
  start_time_ = now.wall;
  if (config_.record_decisions) {
    commands.push_back(
        RecordDecision{scheduler::DecisionLogHead(config_.policy, config_.checkpoint_steps)});
  }
  if (!config_.costs.errors().empty()) {
    Schedule(scheduler::CostErrorKnown{config_.costs.errors()}, now, commands);
  }
  scheduler::ReplicaSpec media;
  media.stages = 1u << static_cast<int>(scheduler::Stage::kMediaEncode);
  media.any_model = true;
  media.plans_in_flight_max = config_.media_threads;
  Schedule(scheduler::ReplicaAttached{kMediaReplica, media}, now, commands);
  for (const TenantPolicy& policy : config_.tenants) {
    TellPolicy(tenants_.IdOf(policy.name), now, commands);
  }
  fleet_.StartDue(now.mono_ns, commands);
}

void Controller::Handle(Event event, Now now, Commands& commands) {
  std::visit([&](auto& e) { On(std::move(e), now, commands); }, event);
  ReportTenantsGone(now, commands);
  ReportDrained(commands);
}

// ---- a generation's life ----

void Controller::On(Recovered event, Now now, Commands& commands) {
  for (Recovered::Item& item : event.items) {
    const std::string name = item.generation.name();
    GenerationRecord& record = generations_[name];
    record.stored = true;
    record.generation = std::move(item.generation);
    const auto parsed = GenerationName::Parse(name, "name");
    record.tenant = parsed.ok() ? parsed->tenant : "";
    record.sequence = config_.boot << kBootShift;
    record.generation.set_state(v1::Generation::STATE_QUEUED);
    record.generation.set_steps_done(Evaluations(record.generation.request()) *
                                     record.generation.outputs_size());
    tenants_.EnterAgain(record.tenant);
    ++recovered_;
    commands.push_back(OpenTopic{name, std::move(item.events)});
    // What it had used up to the crash stays its usage; the repetition is added as it runs.
    for (const auto& stage : record.generation.usage().stages()) {
      const auto known = StageFromProto(stage.stage());
      if (!known.has_value()) continue;
      const int i = static_cast<int>(*known);
      record.usage_by_stage[i] = stage.accelerator_nanos();
      record.elapsed_by_stage[i] = stage.elapsed_nanos();
    }
    v1::GenerateEvent queued = NewEvent(record, now);
    *queued.mutable_queued()->mutable_resolved() = record.generation;
    // Nothing has been loaded yet.
    queued.mutable_queued()->mutable_forecast()->set_wait_reason(v1::WAIT_REASON_MODEL_LOADING);
    Write(record, {std::move(queued)}, false, 0, commands);
    if (record.generation.request().inputs_size() > 0) {
      record.awaits_inputs = true;
      preparations_.Add(name);
    }
    SubmitJobs(record, now, commands);
  }
  OrderPreparations(now, commands);
  if (!event.items.empty()) {
    spdlog::info("{} unfinished generations go on", event.items.size());
  }
}

void Controller::On(CancelReceived event, Now now, Commands& commands) {
  GenerationRecord* record = FindLive(event.name);
  if (record == nullptr) return commands.push_back(ReplyFromStore{event.call, event.name});
  Cancel(*record, event.call, "cancelled by its client", now, commands);
}

void Controller::Cancel(GenerationRecord& record, CallId call, std::string_view why, Now now,
                        Commands& commands) {
  if (record.ended) {
    // Its end is on the way to the store: answer when that is durable.
    for (auto& [id, write] : writes_) {
      if (write.generation == record.generation.name() && write.ends && call != 0) {
        write.calls.push_back(call);
        return;
      }
    }
    if (call != 0) commands.push_back(Reply{call, record.generation});
    return;
  }
  EndJobs(record, now, commands);
  End(record, v1::Generation::STATE_CANCELLED,
      Error(absl::StatusCode::kCancelled, "CANCELLED",
            absl::StrCat("the generation was ", absl::string_view(why.data(), why.size()))),
      call, now, commands);
}

void Controller::On(DeleteReceived event, Now, Commands& commands) {
  const auto it = generations_.find(event.name);
  if (it != generations_.end() && !it->second.end_durable) {
    return commands.push_back(Reply{
        event.call, absl::Status(Error(absl::StatusCode::kFailedPrecondition, "GENERATION_LIVE",
                                       "the generation has not ended; cancel it first"))});
  }
  if (it != generations_.end()) Forget(event.name, commands);
  commands.push_back(WriteDelete{event.call, event.name});
}

void Controller::On(StreamsGone event, Now now, Commands& commands) {
  GenerationRecord* record = FindLive(event.name);
  if (record == nullptr || record->ended) return;
  if (record->abandon == Engine::Abandon::kCancelNow) {
    Cancel(*record, 0, "abandoned by its client", now, commands);
  } else if (record->abandon == Engine::Abandon::kCancelAfterGrace) {
    record->abandon_at_ns = now.mono_ns + kAbandonGraceNs;
  }
}

void Controller::On(StreamsBack event, Now, Commands&) {
  GenerationRecord* record = FindLive(event.name);
  if (record != nullptr) record->abandon_at_ns = 0;
}

void Controller::Fail(GenerationRecord& record, const absl::Status& status, Now now,
                      Commands& commands) {
  if (record.ended) return;
  // What the request itself could not have worked with is its own to pay.
  const bool refund = !absl::IsInvalidArgument(status) && !absl::IsUnimplemented(status);
  EndJobs(record, now, commands, refund);
  End(record, v1::Generation::STATE_FAILED, status, 0, now, commands);
}

void Controller::EndJobs(GenerationRecord& record, Now now, Commands& commands, bool refund) {
  record.ended = true;  // so that nothing that follows from this touches it
  for (const auto id : std::exchange(record.jobs, {})) {
    if (jobs_.erase(id) > 0) Schedule(scheduler::JobEnded{id}, now, commands);
    Settle(id, refund);
  }
}

void Controller::Settle(scheduler::JobId id, bool refund) {
  const auto owner = owners_.find(id);
  if (owner == owners_.end()) return budgets_.Release(id, refund);
  // The quantum that is under way is still to be charged.
  owner->second.refund = owner->second.refund || refund;
}

void Controller::End(GenerationRecord& record, v1::Generation::State state,
                     const absl::Status& error, CallId call, Now now, Commands& commands) {
  record.ended = true;
  v1::Generation& generation = record.generation;
  generation.set_state(state);
  *generation.mutable_end_time() = ToTimestamp(now.wall);
  if (!error.ok()) *generation.mutable_error() = ToProto(error);
  FillUsage(record);
  v1::GenerateEvent event = NewEvent(record, now);
  if (state == v1::Generation::STATE_SUCCEEDED) {
    *event.mutable_completed()->mutable_generation() = generation;
  } else {
    *event.mutable_failed()->mutable_generation() = generation;
  }
  parked_.erase(std::remove(parked_.begin(), parked_.end(), generation.name()), parked_.end());
  ReleaseInputs(record);
  Write(record, {std::move(event)}, true, call, commands);
}

void Controller::On(UpdateDone event, Now, Commands& commands) {
  auto node = writes_.extract(event.write);
  if (node.empty()) return;
  PendingWrite& write = node.mapped();
  if (!event.status.ok()) {
    if (store_status_.ok()) commands.push_back(Fatal{event.status});
    store_status_ = event.status;
    for (const CallId call : write.calls) commands.push_back(Reply{call, StoreBroken()});
    return;
  }
  for (auto& e : write.events) {
    commands.push_back(
        Publish{write.generation, std::make_shared<v1::GenerateEvent>(std::move(e))});
  }
  const auto it = generations_.find(write.generation);
  if (it == generations_.end()) return;
  --it->second.writes_pending;
  for (const CallId call : write.calls) commands.push_back(Reply{call, it->second.generation});
  if (write.ends) it->second.end_durable = true;
  ForgetIfDone(write.generation, commands);
}

void Controller::ForgetIfDone(const std::string& name, Commands& commands) {
  const auto it = generations_.find(name);
  if (it == generations_.end()) return;
  GenerationRecord& record = it->second;
  if (!record.end_durable || record.writes_pending > 0 || record.plans_out > 0) return;
  if (record.usage_changed) {
    // The quantum that ran while it was cancelled has been charged since.
    FillUsage(record);
    Write(record, {}, false, 0, commands);
    return;
  }
  Forget(name, commands);
}

void Controller::Forget(const std::string& name, Commands& commands) {
  const auto it = generations_.find(name);
  if (it == generations_.end()) return;
  tenants_.Leave(it->second.tenant);
  if (it->second.end_durable) commands.push_back(CloseTopic{name});
  ReleaseInputs(it->second);
  generations_.erase(it);
}

// ---- events and writes ----

v1::GenerateEvent Controller::NewEvent(GenerationRecord& record, Now now, int64_t sequences) {
  v1::GenerateEvent event;
  event.set_sequence(record.sequence + 1);
  record.sequence += sequences;
  event.set_generation(record.generation.name());
  *event.mutable_time() = ToTimestamp(now.wall);
  return event;
}

void Controller::Write(GenerationRecord& record, std::vector<v1::GenerateEvent> events, bool ends,
                       CallId call, Commands& commands) {
  record.usage_changed = false;
  const WriteId id = ++last_write_;
  PendingWrite& write = writes_[id];
  write.generation = record.generation.name();
  write.events = events;
  write.ends = ends;
  if (call != 0) write.calls.push_back(call);
  ++record.writes_pending;
  commands.push_back(WriteUpdate{id, record.generation, std::move(events)});
}

void Controller::PublishProgress(GenerationRecord& record, const JobRecord& job,
                                 scheduler::JobId id, Now now, Commands& commands) {
  if (record.writes_pending > 0) return;
  v1::GenerateEvent event = NewEvent(record, now);
  auto* progress = event.mutable_progress();
  progress->set_output_index(job.output_index);
  progress->set_step(job.steps_done);
  progress->set_total_steps(Evaluations(record.generation.request()));
  const int64_t eta_ns = scheduler_.PredictRemaining(id);
  progress->mutable_eta()->set_seconds(eta_ns / 1'000'000'000);
  progress->mutable_eta()->set_nanos(static_cast<int32_t>(eta_ns % 1'000'000'000));
  commands.push_back(Publish{event.generation(), std::make_shared<v1::GenerateEvent>(event), true});
}

void Controller::FillUsage(GenerationRecord& record) {
  v1::Usage& usage = *record.generation.mutable_usage();
  usage.clear_stages();
  int64_t total = 0;
  for (int i = 0; i < scheduler::kStages; ++i) {
    if (record.usage_by_stage[i] == 0 && record.elapsed_by_stage[i] == 0) continue;
    auto* stage = usage.add_stages();
    stage->set_stage(StageToProto(static_cast<scheduler::Stage>(i)));
    stage->set_accelerator_nanos(record.usage_by_stage[i]);
    stage->set_elapsed_nanos(record.elapsed_by_stage[i]);
    if (i != static_cast<int>(scheduler::Stage::kMediaEncode)) total += record.usage_by_stage[i];
  }
  usage.set_accelerator_nanos(total);
}

// ---- housekeeping ----

void Controller::On(DrainRequested, Now, Commands&) { draining_ = true; }

void Controller::ReportDrained(Commands& commands) {
  if (!draining_ || drained_reported_ || creates_pending_ > 0) return;
  // Parked generations wait in the store for the next start.
  if (generations_.size() > parked_.size()) return;
  drained_reported_ = true;
  commands.push_back(Drained{});
}

void Controller::On(Tick, Now now, Commands& commands) {
  fleet_.StartDue(now.mono_ns, commands);
  for (const WorkerId worker : fleet_.Hung(now.mono_ns)) {
    spdlog::error("worker {} hangs and is killed", worker);
    commands.push_back(KillWorker{worker});
  }
  ExpireStreams(now, commands);
  SaveCostsIfDue(now, commands);
  OrderPreparations(now, commands);
  if (now.mono_ns >= purge_at_ns_) {
    purge_at_ns_ = now.mono_ns + kPurgeIntervalNs;
    commands.push_back(PurgeEnded{now.wall - absl::Nanoseconds(config_.retention_ns)});
  }
}

void Controller::ExpireStreams(Now now, Commands& commands) {
  std::vector<std::string> expired;
  for (const auto& [name, record] : generations_) {
    if (record.abandon_at_ns != 0 && now.mono_ns >= record.abandon_at_ns && !record.ended) {
      expired.push_back(name);
    }
  }
  for (const auto& name : expired) {
    Cancel(generations_.at(name), 0, "abandoned by its client", now, commands);
  }
}

GenerationRecord* Controller::FindLive(const std::string& name) {
  const auto it = generations_.find(name);
  return it == generations_.end() ? nullptr : &it->second;
}

}  // namespace darkroom::engine
