#include "engine/controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/wall_time.h"
#include "engine/job_terms.h"
#include "engine/limits.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {
namespace {

// Sequence numbers: the boot in the high part, so that none repeats after a crash.
constexpr int kBootShift = 32;

absl::Status Draining() {
  return Error(absl::StatusCode::kUnavailable, "DRAINING",
               "the server is shutting down; call another or try again soon")
      .RetryAfter(absl::Seconds(1));
}

absl::Status StoreBroken() {
  return Error(absl::StatusCode::kUnavailable, "STORE_BROKEN",
               "the server cannot write its store and accepts nothing until it is restarted")
      .RetryAfter(absl::Seconds(5));
}

absl::Status QueueFull(int limit) {
  return Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
               absl::StrCat("this tenant has ", limit,
                            " generations waiting or running, the most allowed; try again when one "
                            "has ended"))
      .Quota("queued_generations_per_tenant", absl::StrCat("at most ", limit))
      .RetryAfter(absl::Seconds(1));
}

}  // namespace

Controller::Controller(ControllerConfig config) : config_(config), fleet_(config.fleet) {
  scheduler_.set_checkpoint_steps(config_.checkpoint_steps);
}

void Controller::Start(Now now, Commands& commands) {
  start_time_ = now.wall;
  scheduler::ReplicaSpec media;
  media.stages = 1u << static_cast<int>(scheduler::Stage::kMediaEncode);
  media.any_model = true;
  media.plans_in_flight_max = config_.media_threads;
  Schedule(scheduler::ReplicaAttached{kMediaReplica, media}, now, commands);
  fleet_.StartDue(now.mono_ns, commands);
}

void Controller::Handle(Event event, Now now, Commands& commands) {
  std::visit([&](auto& e) { On(std::move(e), now, commands); }, event);
  ReportDrained(commands);
}

// ---- a generation's life ----

void Controller::On(SubmitReceived event, Now now, Commands& commands) {
  Engine::Submit& submit = event.submit;
  if (draining_) return commands.push_back(Reply{event.call, Draining()});
  if (!store_status_.ok()) return commands.push_back(Reply{event.call, StoreBroken()});
  int& live = live_per_tenant_[submit.tenant];
  if (live >= config_.generations_per_tenant_max) {
    return commands.push_back(Reply{event.call, QueueFull(config_.generations_per_tenant_max)});
  }
  if (absl::Status status = CheckInputs(submit.inputs); !status.ok()) {
    return commands.push_back(Reply{event.call, std::move(status)});
  }
  ++live;
  ++creates_pending_;

  GenerationStore::NewGeneration create;
  v1::Generation& generation = create.generation;
  const GenerationName name{submit.tenant, NewGenerationId(absl::ToUnixMillis(now.wall),
                                                           event.random_high, event.random_low)};
  generation.set_name(name.ToString());
  generation.set_state(v1::Generation::STATE_QUEUED);
  *generation.mutable_create_time() = ToTimestamp(now.wall);
  create.request_id = submit.request.request_id();
  create.request_hash = submit.request_hash;
  *generation.mutable_request() = std::move(submit.request);
  const auto& request = generation.request();
  generation.set_steps_total(Evaluations(request) * std::max(1, request.num_images()));

  GenerationRecord record;  // only for its sequence number
  record.generation = generation;
  record.sequence = config_.boot << kBootShift;
  v1::GenerateEvent queued = NewEvent(record, now);
  *queued.mutable_queued()->mutable_resolved() = generation;
  // The policy travels with the call: the generation may turn out to exist already.
  GenerationRecord& pending = generations_[generation.name()];
  pending.generation = generation;
  pending.tenant = submit.tenant;
  pending.abandon = submit.abandon;
  pending.sequence = record.sequence;
  HoldInputs(pending, std::move(submit.inputs));
  commands.push_back(
      WriteCreate{event.call, std::move(create), std::move(queued), std::move(submit.input_bytes)});
}

void Controller::On(CreateDone event, Now now, Commands& commands) {
  --creates_pending_;
  const std::string& made = event.name;
  if (!event.result.ok() || !event.result->inserted) {
    Forget(made, commands);
    if (event.result.ok()) {
      commands.push_back(Reply{event.call, std::move(event.result->generation)});
    } else {
      if (!ErrorReason(event.result.status()).starts_with("REQUEST_ID")) {
        spdlog::error("a generation could not be stored: {}",
                      std::string(event.result.status().message()));
      }
      commands.push_back(Reply{event.call, event.result.status()});
    }
    return;
  }
  GenerationRecord& record = generations_.at(made);
  record.generation = std::move(event.result->generation);
  commands.push_back(OpenTopic{made, {}});
  SubmitJobs(record, now, commands);
  event.queued.mutable_queued()->set_position(
      static_cast<int32_t>(scheduler_.JobsAhead(last_job_)));
  commands.push_back(Publish{made, std::make_shared<v1::GenerateEvent>(std::move(event.queued))});
  commands.push_back(Reply{event.call, record.generation});
}

void Controller::On(Recovered event, Now now, Commands& commands) {
  for (Recovered::Item& item : event.items) {
    const std::string name = item.generation.name();
    GenerationRecord& record = generations_[name];
    record.generation = std::move(item.generation);
    const auto parsed = GenerationName::Parse(name, "name");
    record.tenant = parsed.ok() ? parsed->tenant : "";
    record.sequence = config_.boot << kBootShift;
    record.generation.set_state(v1::Generation::STATE_QUEUED);
    record.generation.set_steps_done(Evaluations(record.generation.request()) *
                                     record.generation.outputs_size());
    ++live_per_tenant_[record.tenant];
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

void Controller::SubmitJobs(GenerationRecord& record, Now now, Commands& commands) {
  if (record.awaits_inputs) return;
  const v1::GenerateRequest& request = record.generation.request();
  const auto model = fleet_.FindModel(request.model());
  if (!model.has_value() || fleet_.model(*model).token_pixels == 0) {
    // Its model is not served now. It stays queued: the model may come up, or be back after the
    // next start.
    if (!model.has_value()) {
      spdlog::warn("{} waits for {}, which this server does not have", record.generation.name(),
                   request.model());
    }
    parked_.push_back(record.generation.name());
    return;
  }
  record.model = *model;
  const WorkerFleet::Model& served = fleet_.model(*model);
  const int64_t patch = served.token_pixels;
  const int64_t tokens =
      ((request.width() + patch - 1) / patch) * ((request.height() + patch - 1) / patch);
  const int branches = Branches(request, served.description.guidance());
  const auto tenant = tenants_.try_emplace(record.tenant, tenants_.size() + 1).first->second;

  record.outputs_left = 0;
  std::vector<scheduler::JobSpec> specs;
  for (int i = 0; i < std::max(1, request.num_images()); ++i) {
    const auto& outputs = record.generation.outputs();
    const bool done = std::any_of(outputs.begin(), outputs.end(),
                                  [&](const auto& output) { return output.index() == i; });
    if (done) continue;
    ++record.outputs_left;
    JobRecord& job = jobs_[++last_job_];
    job.generation = record.generation.name();
    job.output_index = i;
    job.stage_since_ns = now.mono_ns;
    scheduler::JobSpec spec;
    spec.id = last_job_;
    spec.tenant = tenant;
    spec.model = *model;
    spec.steps = Evaluations(request);
    spec.image_encode = HasInput(request, v1::INPUT_ROLE_INIT);
    spec.step_tokens = (tokens + served.text_tokens) * branches;
    spec.image_tokens = tokens;
    specs.push_back(spec);
  }
  const std::string name = record.generation.name();
  for (const auto& spec : specs) {
    // A refused job ends its generation and its other jobs with it.
    if (jobs_.contains(spec.id)) Schedule(scheduler::JobSubmitted{spec}, now, commands);
  }
  const auto it = generations_.find(name);
  if (it != generations_.end() && specs.empty() && !it->second.ended) {
    // Crashed between its last output and its end.
    End(it->second, v1::Generation::STATE_SUCCEEDED, absl::OkStatus(), 0, now, commands);
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
  EndJobs(record, now, commands);
  End(record, v1::Generation::STATE_FAILED, status, 0, now, commands);
}

void Controller::EndJobs(GenerationRecord& record, Now now, Commands& commands) {
  const std::string name = record.generation.name();
  std::vector<scheduler::JobId> ended;
  for (const auto& [id, job] : jobs_) {
    if (job.generation == name) ended.push_back(id);
  }
  record.ended = true;  // so that nothing that follows from this touches it
  for (const auto id : ended) {
    jobs_.erase(id);
    Schedule(scheduler::JobEnded{id}, now, commands);
  }
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
  const auto live = live_per_tenant_.find(it->second.tenant);
  if (--live->second == 0) live_per_tenant_.erase(live);
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

v1::ServerInfo Controller::Describe(Now now) const {
  v1::ServerInfo info;
  bool ready = false;
  fleet_.DescribeWorkers(now.mono_ns, info);
  for (const auto& worker : info.workers()) {
    ready = ready || worker.state() == v1::ServerInfo::Worker::STATE_READY;
  }
  info.set_state(draining_ ? v1::ServerInfo::STATE_DRAINING
                 : ready   ? v1::ServerInfo::STATE_SERVING
                           : v1::ServerInfo::STATE_STARTING);
  *info.mutable_start_time() = ToTimestamp(start_time_);
  const size_t running = scheduler_.running_count();
  info.set_jobs_running(static_cast<int32_t>(running));
  info.set_jobs_queued(static_cast<int32_t>(scheduler_.job_count() - running));
  info.set_generations_recovered(recovered_);
  return info;
}

}  // namespace darkroom::engine
