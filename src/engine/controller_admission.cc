// The controller's half in which a generation is taken or refused.

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/resource_name.h"
#include "base/wall_time.h"
#include "engine/admission.h"
#include "engine/controller.h"
#include "engine/job_terms.h"
#include "engine/limits.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {

absl::Status Controller::CheckNew(const Engine::Submit& submit, Now now) {
  if (draining_) return Draining();
  if (!store_status_.ok()) return StoreBroken();
  if (absl::Status status = CheckInputs(submit.inputs); !status.ok()) return status;
  const TenantPolicy& policy = tenants_.PolicyOf(tenants_.IdOf(submit.tenant));
  if (absl::Status status = CheckClass(submit.request, policy); !status.ok()) return status;
  return tenants_.MayEnter(submit.tenant, now.mono_ns);
}

void Controller::Refuse(CallId call, const std::string& tenant, const std::string& request_id,
                        const std::string& request_hash, absl::Status status, Commands& commands) {
  // A client that lost the answer repeats its request, later than its deadline perhaps, or with
  // its tenant's limits used up by the very generation that it asks for.
  if (request_id.empty()) return commands.push_back(Reply{call, std::move(status)});
  commands.push_back(ReplyRefused{call, tenant, request_id, request_hash, std::move(status)});
}

void Controller::On(SubmitReceived event, Now now, Commands& commands) {
  Engine::Submit& submit = event.submit;
  if (absl::Status status = CheckNew(submit, now); !status.ok()) {
    return Refuse(event.call, submit.tenant, submit.request.request_id(), submit.request_hash,
                  std::move(status), commands);
  }
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

  GenerationRecord& pending = generations_[generation.name()];
  pending.generation = generation;
  pending.tenant = submit.tenant;
  // The policy travels with the call: the generation may turn out to exist already.
  pending.abandon = submit.abandon;
  pending.sequence = config_.boot << kBootShift;
  if (absl::Status status = Admit(pending, now, commands); !status.ok()) {
    generations_.erase(generation.name());
    return Refuse(event.call, submit.tenant, create.request_id, create.request_hash,
                  std::move(status), commands);
  }
  // It was asked whether it may, and nothing has come between.
  tenants_.Enter(submit.tenant, now.mono_ns).IgnoreError();
  ++creates_pending_;
  HoldInputs(pending, std::move(submit.inputs));
  v1::GenerateEvent queued = NewEvent(pending, now);
  *queued.mutable_queued()->mutable_resolved() = generation;
  *queued.mutable_queued()->mutable_forecast() =
      ForecastToProto(scheduler_.Predict(pending.jobs), now);
  commands.push_back(
      WriteCreate{event.call, std::move(create), std::move(queued), std::move(submit.input_bytes)});
}

void Controller::On(CreateDone event, Now now, Commands& commands) {
  --creates_pending_;
  const std::string& made = event.name;
  if (!event.result.ok() || !event.result->inserted) {
    EndJobs(generations_.at(made), now, commands);
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
  record.stored = true;
  record.generation = std::move(event.result->generation);
  commands.push_back(OpenTopic{made, {}});
  const std::vector<scheduler::JobId> held = record.jobs;
  if (held.empty()) SubmitJobs(record, now, commands);
  for (const auto id : held) Schedule(scheduler::JobReleased{id}, now, commands);
  if (!held.empty()) {
    event.queued.mutable_queued()->set_position(
        static_cast<int32_t>(scheduler_.JobsAhead(held.front())));
  }
  commands.push_back(Publish{made, std::make_shared<v1::GenerateEvent>(std::move(event.queued))});
  commands.push_back(Reply{event.call, record.generation});
  if (tenants_.removed(record.tenant)) Fail(record, TenantDeleted(), now, commands);
}

void Controller::On(EstimateReceived event, Now now, Commands& commands) {
  v1::EstimateGenerationResponse response;
  GenerationRecord record;
  record.tenant = event.submit.tenant;
  *record.generation.mutable_request() = event.submit.request;
  absl::Status status = CheckNew(event.submit, now);
  // The very admission that a creation goes through; it leaves again before anything can happen.
  if (status.ok()) status = Admit(record, now, commands);
  if (!status.ok()) {
    *response.mutable_refusal() = ToProto(status);
    std::vector<scheduler::JobSpec> specs = MakeJobs(record, now);
    for (scheduler::JobSpec& spec : specs) {
      spec.service_class = scheduler::ServiceClass::kBestEffort;
      spec.deadline_ns = scheduler::kNoDeadline;
    }
    TakeHeld(specs, now, commands);
  }
  *response.mutable_forecast() = ForecastToProto(scheduler_.Predict(record.jobs), now);
  int64_t nanos = 0;
  for (const auto id : record.jobs) nanos += scheduler_.NanosAlone(id);
  response.set_accelerator_nanos(nanos);
  response.set_prediction_error(scheduler_.epsilon());
  EndJobs(record, now, commands);
  *response.mutable_resolved() = std::move(event.submit.request);
  commands.push_back(ReplyEstimate{event.call, std::move(response)});
}

std::optional<scheduler::JobRefused> Controller::TakeHeld(
    const std::vector<scheduler::JobSpec>& specs, Now now, Commands& commands) {
  std::optional<scheduler::JobRefused> refused;
  admission_ = &refused;
  size_t taken = 0;
  for (; taken < specs.size() && !refused; ++taken) {
    scheduler::JobSpec spec = specs[taken];
    spec.held = true;
    Schedule(scheduler::JobSubmitted{spec}, now, commands);
  }
  admission_ = nullptr;
  if (!refused) return std::nullopt;
  for (size_t i = 0; i + 1 < taken; ++i) {
    Schedule(scheduler::JobEnded{specs[i].id}, now, commands);
  }
  return refused;
}

absl::Status Controller::Admit(GenerationRecord& record, Now now, Commands& commands) {
  std::vector<scheduler::JobSpec> specs = MakeJobs(record, now);
  auto refused = TakeHeld(specs, now, commands);
  if (!refused) {
    absl::Status reserved = Reserve(record);
    if (!reserved.ok()) EndJobs(record, now, commands);
    return reserved;
  }
  for (const auto id : std::exchange(record.jobs, {})) jobs_.erase(id);
  // What is offered is offered only if it would be taken, all outputs together.
  const int64_t wanted_ns = specs.front().deadline_ns;
  bool proven = false;
  for (int i = 0; i < kOfferTriesMax && !proven; ++i) {
    if (refused->offered_deadline_ns == scheduler::kNoDeadline) break;
    for (scheduler::JobSpec& spec : specs) spec.deadline_ns = refused->offered_deadline_ns;
    const auto again = TakeHeld(specs, now, commands);
    proven = !again;
    if (again) refused->offered_deadline_ns = again->offered_deadline_ns;
  }
  if (proven) {
    for (const auto& spec : specs) Schedule(scheduler::JobEnded{spec.id}, now, commands);
  } else {
    refused->offered_deadline_ns = scheduler::kNoDeadline;
  }
  return RefusalStatus(*refused, wanted_ns, now);
}

scheduler::JobSpec Controller::SpecOf(const GenerationRecord& record, Now now) {
  const v1::GenerateRequest& request = record.generation.request();
  const WorkerFleet::Model& served = fleet_.model(record.model);
  const int64_t patch = served.token_pixels;
  const int64_t tokens =
      ((request.width() + patch - 1) / patch) * ((request.height() + patch - 1) / patch);
  const scheduler::TenantId tenant = tenants_.IdOf(record.tenant);
  const TenantPolicy& policy = tenants_.PolicyOf(tenant);

  scheduler::JobSpec spec;
  spec.tenant = tenant;
  spec.model = record.model;
  spec.service_class = ClassOf(request, policy);
  spec.isolation = policy.isolation;
  spec.deadline_ns = DeadlineOf(request, now);
  spec.steps = Evaluations(request);
  spec.image_encode = HasInput(request, v1::INPUT_ROLE_INIT);
  spec.step_tokens =
      (tokens + served.text_tokens) * Branches(request, served.description.guidance());
  spec.image_tokens = tokens;
  spec.segments = served.segments;
  return spec;
}

absl::Status Controller::Reserve(const GenerationRecord& record) {
  std::vector<BudgetBook::Cost> costs;
  for (const scheduler::JobId id : record.jobs) {
    costs.push_back({.job = id,
                     .nanos = scheduler_.NanosAlone(id),
                     .steps = Evaluations(record.generation.request()),
                     .step_ns = scheduler_.StepNanosAlone(id),
                     .segments = fleet_.model(record.model).segments});
  }
  return budgets_.Reserve(tenants_.IdOf(record.tenant), costs, scheduler_.epsilon());
}

std::vector<scheduler::JobSpec> Controller::MakeJobs(GenerationRecord& record, Now now) {
  std::vector<scheduler::JobSpec> specs;
  const v1::GenerateRequest& request = record.generation.request();
  const auto model = fleet_.FindModel(request.model());
  if (!model.has_value() || fleet_.model(*model).token_pixels == 0) return specs;
  record.model = *model;
  scheduler::JobSpec spec = SpecOf(record, now);
  record.outputs_left = 0;
  record.jobs.clear();
  for (int i = 0; i < std::max(1, request.num_images()); ++i) {
    const auto& outputs = record.generation.outputs();
    const bool done = std::any_of(outputs.begin(), outputs.end(),
                                  [&](const auto& output) { return output.index() == i; });
    if (done) continue;
    ++record.outputs_left;
    spec.id = ++last_job_;
    specs.push_back(spec);
    record.jobs.push_back(spec.id);
    JobRecord& job = jobs_[spec.id];
    job.generation = record.generation.name();
    job.output_index = i;
    job.stage_since_ns = now.mono_ns;
  }
  return specs;
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
  const std::string name = record.generation.name();
  const std::vector<scheduler::JobSpec> specs = MakeJobs(record, now);
  for (scheduler::JobSpec spec : specs) {
    // It was accepted before, and what is accepted is not lost, however late it has become. One
    // that is refused all the same ends its generation and its other jobs with it.
    spec.admitted = true;
    if (jobs_.contains(spec.id)) Schedule(scheduler::JobSubmitted{spec}, now, commands);
  }
  // Where it does not fit, the house pays what was accepted before.
  if (const GenerationRecord* submitted = FindLive(name)) Reserve(*submitted).IgnoreError();
  const auto it = generations_.find(name);
  if (it != generations_.end() && specs.empty() && !it->second.ended) {
    // Crashed between its last output and its end.
    End(it->second, v1::Generation::STATE_SUCCEEDED, absl::OkStatus(), 0, now, commands);
  }
}

}  // namespace darkroom::engine
