// The controller's half that faces workers: scheduler commands become messages, messages become
// scheduler events.

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/wall_time.h"
#include "engine/admission.h"
#include "engine/controller.h"
#include "engine/job_terms.h"
#include "engine/limits.h"
#include "ipc/tensor_ref.h"
#include "scheduler/decision_log.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {
namespace {

absl::Status WorkerCrashed() {
  return Error(absl::StatusCode::kInternal, "WORKER_CRASHED",
               "the process that worked on this request died each time it reached the same point; "
               "the request was given up");
}

absl::Status PutInputs(const JobInputs& inputs, const v1::GenerateRequest& request,
                       TensorWriter& writer, v1::OpenSlot& open) {
  const auto put = [&](const Payload& picture, std::initializer_list<int64_t> shape,
                       v1::TensorRef& ref) {
    ref.set_dtype(v1::DTYPE_U8);
    for (const int64_t dim : shape) ref.add_shape(dim);
    return writer.Put(picture, ref);
  };
  absl::Status status;
  if (!inputs.init_image.empty()) {
    status =
        put(inputs.init_image, {request.height(), request.width(), 3}, *open.mutable_init_image());
  }
  if (status.ok() && !inputs.mask.empty()) {
    status = put(inputs.mask, {request.height(), request.width()}, *open.mutable_mask());
  }
  return status;
}

}  // namespace

// ---- scheduler to workers ----

void Controller::Schedule(const scheduler::Event& event, Now now, Commands& commands) {
  std::vector<scheduler::Command> orders;
  scheduler_.Handle(event, now.mono_ns, orders);
  if (config_.record_decisions) {
    RecordDecision record;
    scheduler::AppendDecision(event, now.mono_ns, orders, record.bytes);
    commands.push_back(std::move(record));
  }
  for (const auto& order : orders) {
    std::visit([&](const auto& o) { Apply(o, now, commands); }, order);
  }
  // Not in the middle of an admission, whose answer a job that is given again is not.
  if (admission_ != nullptr) return;
  for (const auto id : std::exchange(without_latents_, {})) StartAnew(id, now, commands);
}

void Controller::Apply(const scheduler::OpenSlot& order, Now now, Commands& commands) {
  JobRecord& job = jobs_.at(order.job);
  const GenerationRecord& record = generations_.at(job.generation);
  const v1::GenerateRequest& request = record.generation.request();
  if (order.from_replica >= 0) {
    spdlog::debug("{} goes on at worker {} after step {}, from worker {}", job.generation,
                  order.replica, order.resume_step, order.from_replica);
  } else {
    EnterStage(job, scheduler::Stage::kEncode, now);
  }
  // A worker may leave a checkpoint out, for want of memory perhaps; then there is nothing to go on
  // from, and the slot is closed again at once.
  const bool resumes = order.resume_step > 0 && job.checkpoint != nullptr &&
                       job.checkpoint->step() == order.resume_step;
  if (order.resume_step > 0 && !resumes) without_latents_.push_back(order.job);

  v1::ToWorker message;
  v1::OpenSlot& open = *message.mutable_open_slot();
  open.set_slot(order.slot);
  open.set_lease_epoch(order.epoch);
  open.set_tenant_tag(tenants_.IdOf(record.tenant));
  FillOpenSlot(request, job.output_index, open);
  if (resumes || order.resume_step == 0) job.steps_done = order.resume_step;
  // The worker refuses what did not fit, and the job fails with that.
  TensorWriter writer;
  absl::Status put = PutInputs(record.inputs, request, writer, open);
  if (resumes) {
    // The tensors move to other places in this message than they had in the one they came with.
    *open.mutable_checkpoint() = *job.checkpoint;
    size_t next = 0;
    if (put.ok()) {
      put =
          writer.Put(job.checkpoint_tensors[next++], *open.mutable_checkpoint()->mutable_latents());
    }
    for (auto& state : *open.mutable_checkpoint()->mutable_sampler_state()) {
      if (put.ok()) put = writer.Put(job.checkpoint_tensors[next++], state);
    }
  }
  if (!put.ok()) spdlog::error("a tensor cannot be sent: {}", std::string(put.message()));
  commands.push_back(SendToWorker{order.replica, std::move(message), writer.TakeAttachments()});
}

void Controller::StartAnew(scheduler::JobId id, Now now, Commands& commands) {
  const auto node = jobs_.extract(id);
  if (node.empty()) return;
  const JobRecord& old = node.mapped();
  GenerationRecord& record = generations_.at(old.generation);
  spdlog::warn("{} begins anew: its latents after step {} were not kept", old.generation,
               old.steps_done);
  Schedule(scheduler::JobEnded{id}, now, commands);
  // What is done once more has no reservation, so that the house pays it.
  Settle(id, false);
  record.generation.set_steps_done(record.generation.steps_done() - old.steps_done);
  scheduler::JobSpec spec = SpecOf(record, now);
  spec.id = ++last_job_;
  spec.admitted = true;
  std::replace(record.jobs.begin(), record.jobs.end(), id, spec.id);
  JobRecord& job = jobs_[spec.id];
  job.generation = old.generation;
  job.output_index = old.output_index;
  job.stage_since_ns = now.mono_ns;
  Schedule(scheduler::JobSubmitted{spec}, now, commands);
}

void Controller::Apply(const scheduler::CloseSlot& order, Now, Commands& commands) {
  v1::ToWorker message;
  message.mutable_close_slot()->set_slot(order.slot);
  message.mutable_close_slot()->set_lease_epoch(order.epoch);
  commands.push_back(SendToWorker{order.replica, std::move(message), {}});
}

void Controller::Apply(const scheduler::RunPlan& order, Now now, Commands& commands) {
  for (const auto& item : order.items) {
    const std::string& name = jobs_.at(item.job).generation;
    Owner& owner = owners_[item.job];
    owner.generation = name;
    ++owner.plans_out;
    ++generations_.at(name).plans_out;
  }
  plans_[{order.replica, order.sequence}] = order;
  if (order.replica == kMediaReplica) return OrderMedia(order, commands);

  v1::ToWorker message;
  v1::BatchPlan& plan = *message.mutable_plan();
  plan.set_gang_epoch(static_cast<uint64_t>(order.replica));
  plan.set_sequence(order.sequence);
  plan.set_stage(StageToProto(order.stage));
  if (order.stage == scheduler::Stage::kDenoise) SetSegments(order, plan);
  const bool moves = fleet_.Moves(order.replica);
  for (const auto& item : order.items) {
    const JobRecord& job = jobs_.at(item.job);
    const GenerationRecord& record = generations_.at(job.generation);
    const v1::GenerateRequest& request = record.generation.request();
    const int32_t patch = fleet_.model(record.model).token_pixels;
    v1::PlanJob& out = *plan.add_jobs();
    out.set_slot(item.slot);
    out.set_lease_epoch(item.epoch);
    const scheduler::TenantId tenant = tenants_.IdOf(record.tenant);
    out.set_tenant_tag(tenant);
    out.set_isolation(IsolationToProto(tenants_.PolicyOf(tenant).isolation));
    out.set_step_index(item.step);
    out.set_guidance_scale(request.sampling().guidance_scale());
    out.mutable_tokens()->set_frames(1);
    out.mutable_tokens()->set_height((request.height() + patch - 1) / patch);
    out.mutable_tokens()->set_width((request.width() + patch - 1) / patch);
    out.mutable_tokens()->set_text(fleet_.model(record.model).text_tokens);
    out.set_sampler(request.sampling().sampler());
    out.set_cache_mode(v1::CACHE_MODE_EXACT);
    // Whoever may move goes on from the latest step.
    const bool for_move = moves && order.stage == scheduler::Stage::kDenoise &&
                          EndsStep(order, record) && item.step + 1 < Evaluations(request);
    out.mutable_returns()->set_checkpoint(item.checkpoint || for_move);
    out.mutable_returns()->set_output(order.stage == scheduler::Stage::kDecode);
    if (order.stage == scheduler::Stage::kDenoise && EndsStep(order, record) &&
        PreviewDue(request, item.step + 1)) {
      out.mutable_returns()->set_preview(true);
      out.mutable_returns()->set_preview_size_max(request.preview().size_max());
    }
  }
  fleet_.PlanSent(order.replica, order.sequence, order.predicted_ns);
  commands.push_back(SendToWorker{order.replica, std::move(message), {}});
  static_cast<void>(now);
}

bool Controller::EndsStep(const scheduler::RunPlan& plan, const GenerationRecord& record) const {
  return plan.segment_end >= fleet_.model(record.model).segments;
}

// A whole step names no segments.
void Controller::SetSegments(const scheduler::RunPlan& order, v1::BatchPlan& plan) const {
  const std::string& generation = jobs_.at(order.items.front().job).generation;
  if (order.segment_begin == 0 && EndsStep(order, generations_.at(generation))) return;
  plan.mutable_segments()->set_first(order.segment_begin);
  plan.mutable_segments()->set_last(order.segment_end);
}

void Controller::Apply(const scheduler::RevokePlan& order, Now, Commands& commands) {
  revoking_.insert({order.replica, order.sequence});
  v1::ToWorker message;
  message.mutable_revoke_plan()->set_gang_epoch(static_cast<uint64_t>(order.replica));
  message.mutable_revoke_plan()->set_sequence(order.sequence);
  commands.push_back(SendToWorker{order.replica, std::move(message), {}});
}

void Controller::OrderMedia(const scheduler::RunPlan& order, Commands& commands) {
  for (const auto& item : order.items) {
    JobRecord& job = jobs_.at(item.job);
    const GenerationRecord& record = generations_.at(job.generation);
    const v1::GenerateRequest& request = record.generation.request();
    EncodeMedia encode;
    encode.job = item.job;
    encode.sequence = order.sequence;
    encode.pixels = std::move(job.pixels);
    encode.width = job.pixel_width;
    encode.height = job.pixel_height;
    encode.blob_key = absl::StrCat(record.generation.name(), "/", job.output_index);
    if (request.mask_overlay() && !record.inputs.mask.empty()) encode.overlay = record.inputs;
    if (!request.output().omit_metadata()) {
      encode.texts = PictureTexts(request, job.output_index, job.numerics_id);
    }
    commands.push_back(std::move(encode));
  }
}

void Controller::Apply(const scheduler::Charge& order, Now, Commands&) {
  // The media pool is no accelerator.
  if (order.stage != scheduler::Stage::kMediaEncode) {
    const auto job = jobs_.find(order.job);
    const bool again = job != jobs_.end() && PaidBefore(job->second, order.stage);
    budgets_.Charge(order.job, order.nanos, again);
  }
  GenerationRecord* record = GenerationOf(order.job);
  if (record == nullptr) return;
  record->usage_by_stage[static_cast<int>(order.stage)] += order.nanos;
  record->usage_changed = true;
}

bool Controller::PaidBefore(JobRecord& job, scheduler::Stage stage) {
  if (stage != scheduler::Stage::kDenoise) {
    const bool paid = (job.stages_paid & scheduler::StageBit(stage)) != 0;
    job.stages_paid |= scheduler::StageBit(stage);
    return paid;
  }
  if (job.step_run <= job.steps_paid) return true;
  if (job.steps_done == job.step_run) job.steps_paid = job.step_run;
  return false;
}

void Controller::Apply(const scheduler::JobFinished& order, Now now, Commands& commands) {
  const std::string name = jobs_.at(order.job).generation;
  jobs_.erase(order.job);
  Settle(order.job, false);
  GenerationRecord& record = generations_.at(name);
  if (--record.outputs_left == 0) {
    End(record, v1::Generation::STATE_SUCCEEDED, absl::OkStatus(), 0, now, commands);
  }
}

void Controller::Apply(const scheduler::JobRequeued& order, Now now, Commands& commands) {
  JobRecord& job = jobs_.at(order.job);
  GenerationRecord& record = generations_.at(job.generation);
  record.generation.set_steps_done(record.generation.steps_done() -
                                   (job.steps_done - order.resume_step));
  job.steps_done = order.resume_step;
  auto& usage = *record.generation.mutable_usage();
  usage.set_retries(usage.retries() + 1);
  v1::GenerateEvent queued = NewEvent(record, now);
  queued.mutable_queued()->set_position(static_cast<int32_t>(scheduler_.JobsAhead(order.job)));
  *queued.mutable_queued()->mutable_resolved() = record.generation;
  *queued.mutable_queued()->mutable_forecast() =
      ForecastToProto(scheduler_.Predict({order.job}), now);
  Write(record, {std::move(queued)}, false, 0, commands);
}

void Controller::Apply(const scheduler::JobQuarantined& order, Now now, Commands& commands) {
  const std::string name = jobs_.at(order.job).generation;
  jobs_.erase(order.job);
  Settle(order.job, true);
  Fail(generations_.at(name), WorkerCrashed(), now, commands);
}

void Controller::Apply(const scheduler::JobRefused& order, Now now, Commands& commands) {
  if (admission_ != nullptr) {
    *admission_ = order;
    return;
  }
  const auto it = jobs_.find(order.job);
  if (it == jobs_.end()) return;
  const std::string name = it->second.generation;
  jobs_.erase(it);
  Settle(order.job, true);
  Fail(generations_.at(name), RefusalStatus(order, scheduler::kNoDeadline, now), now, commands);
}

// ---- workers to scheduler ----

void Controller::On(WorkerSaid event, Now now, Commands& commands) {
  switch (event.message.message_case()) {
    case v1::FromWorker::kPlanStarted:
      return OnPlanStarted(event, now, commands);
    case v1::FromWorker::kPlanDone:
      return OnPlanDone(event, now, commands);
    case v1::FromWorker::kSlotOpened: {
      const auto& opened = event.message.slot_opened();
      const absl::Status status = FromProto(opened.status());
      if (status.ok()) return;
      // The plan that follows reports each of its jobs too; the first to arrive decides.
      for (const auto& [key, plan] : plans_) {
        if (key.first != event.worker) continue;
        for (const auto& item : plan.items) {
          if (item.slot != opened.slot() || item.epoch != opened.lease_epoch()) continue;
          const auto job = jobs_.find(item.job);
          if (job == jobs_.end()) return;
          return Fail(generations_.at(job->second.generation), status, now, commands);
        }
      }
      return;
    }
    default:
      break;
  }
  auto ready = fleet_.OnMessage(event, now.mono_ns, commands);
  if (ready.has_value()) {
    // What was learned belongs to the profile that it corrects.
    const CostBook::Entry* known =
        costs_.Find(CostKeyOf(ready->spec.hardware, ready->spec.models.front()));
    if (known != nullptr) {
      if (!known->points.empty()) ready->spec.cost = known->points;
      ready->spec.learned = known->learned;
    }
    ready->spec.move_ns = fleet_.MoveNanos(ready->spec);
    Schedule(scheduler::ReplicaAttached{ready->worker, ready->spec}, now, commands);
    for (const auto& name : std::exchange(parked_, {})) {
      if (GenerationRecord* record = FindLive(name)) SubmitJobs(*record, now, commands);
    }
  }
  ReportHopeless(commands);
}

void Controller::ReportHopeless(Commands& commands) {
  const auto hopeless = fleet_.Hopeless();
  if (hopeless.has_value() && !std::exchange(hopeless_reported_, true)) {
    commands.push_back(Fatal{*hopeless});
  }
}

void Controller::OnPlanStarted(const WorkerSaid& said, Now now, Commands& commands) {
  const uint64_t sequence = said.message.plan_started().sequence();
  fleet_.PlanStarted(said.worker, sequence, now.mono_ns);
  const auto plan = plans_.find({said.worker, sequence});
  if (plan == plans_.end()) return;
  if (revoking_.erase(plan->first) > 0) {
    Schedule(scheduler::PlanBegun{said.worker, sequence}, now, commands);
  }
  for (const auto& item : plan->second.items) {
    const auto job = jobs_.find(item.job);
    if (job == jobs_.end()) continue;
    EnterStage(job->second, plan->second.stage, now);
    GenerationRecord& record = generations_.at(job->second.generation);
    job->second.numerics_id = fleet_.NumericsIdOf(said.worker);
    if (record.generation.state() != v1::Generation::STATE_QUEUED) continue;
    record.generation.set_state(v1::Generation::STATE_RUNNING);
    *record.generation.mutable_start_time() = ToTimestamp(now.wall);
    record.generation.set_numerics_id(job->second.numerics_id);
    v1::GenerateEvent started = NewEvent(record, now);
    started.mutable_started();
    Write(record, {std::move(started)}, false, 0, commands);
  }
}

void Controller::OnPlanDone(WorkerSaid& said, Now now, Commands& commands) {
  const v1::PlanDone& done = said.message.plan_done();
  if (done.revoked()) return OnPlanRevoked(said.worker, done.sequence(), now, commands);
  fleet_.PlanDone(said.worker, done, now.mono_ns);
  revoking_.erase({said.worker, done.sequence()});
  const auto node = plans_.extract({said.worker, done.sequence()});
  if (node.empty()) return;
  const scheduler::RunPlan& plan = node.mapped();

  scheduler::PlanFinished finished{said.worker, done.sequence(), 0, {}};
  finished.duration_ns = std::max<int64_t>(0, done.end_nanos() - done.start_nanos());
  std::vector<std::pair<scheduler::JobId, absl::Status>> failed;
  for (size_t i = 0; i < plan.items.size(); ++i) {
    using Outcome = scheduler::PlanFinished::Outcome;
    scheduler::PlanFinished::Item item{plan.items[i].job, Outcome::kSkipped, false};
    if (i < static_cast<size_t>(done.jobs_size()) && !done.jobs(static_cast<int>(i)).skipped()) {
      const auto& result = done.jobs(static_cast<int>(i));
      absl::Status status = FromProto(result.status());
      if (status.ok()) status = TakeResult(plan, i, result, said.attachments, now, commands);
      item.outcome = status.ok() ? Outcome::kDone : Outcome::kFailed;
      item.checkpointed = status.ok() && result.has_checkpoint();
      if (!status.ok()) failed.emplace_back(item.job, status);
    }
    finished.items.push_back(item);
  }
  // Failures first: what failed must not be given its next step.
  for (const auto& [id, status] : failed) {
    const auto job = jobs_.find(id);
    if (job != jobs_.end()) Fail(generations_.at(job->second.generation), status, now, commands);
  }
  Schedule(finished, now, commands);
  ReleasePlan(plan, commands);
}

void Controller::OnPlanRevoked(WorkerId worker, uint64_t sequence, Now now, Commands& commands) {
  const auto plan = plans_.find({worker, sequence});
  if (plan == plans_.end()) return;
  if (revoking_.erase(plan->first) == 0) {
    // Nobody can tell any more where its jobs are.
    spdlog::error("worker {} gives back a plan that it was not asked for, and is killed", worker);
    return commands.push_back(KillWorker{worker});
  }
  fleet_.PlanRevoked(worker, sequence);
  const auto node = plans_.extract(plan);
  Schedule(scheduler::PlanRevoked{worker, sequence}, now, commands);
  ReleasePlan(node.mapped(), commands);
}

absl::Status Controller::TakeResult(const scheduler::RunPlan& plan, size_t index,
                                    const v1::PlanDone::JobResult& result,
                                    const std::vector<Payload>& attachments, Now now,
                                    Commands& commands) {
  const auto& item = plan.items[index];
  const auto it = jobs_.find(item.job);
  if (it == jobs_.end()) return absl::OkStatus();  // cancelled while it ran: nothing to keep
  JobRecord& job = it->second;
  GenerationRecord& record = generations_.at(job.generation);

  if (result.has_checkpoint()) {
    if (plan.stage != scheduler::Stage::kDenoise || !EndsStep(plan, record) ||
        result.checkpoint().step() != item.step + 1) {
      return Error(absl::StatusCode::kInternal, "CHECKPOINT_INVALID",
                   "a worker returned a checkpoint of another step than it ran");
    }
    std::vector<Payload> tensors;
    auto latents = ReadTensor(result.checkpoint().latents(), attachments);
    if (!latents.ok()) return latents.status();
    tensors.push_back(*std::move(latents));
    for (const auto& state : result.checkpoint().sampler_state()) {
      auto tensor = ReadTensor(state, attachments);
      if (!tensor.ok()) return tensor.status();
      tensors.push_back(*std::move(tensor));
    }
    auto checkpoint = std::make_shared<v1::Checkpoint>(result.checkpoint());
    checkpoint->mutable_latents()->clear_location();
    for (auto& state : *checkpoint->mutable_sampler_state()) state.clear_location();
    job.checkpoint = std::move(checkpoint);
    job.checkpoint_tensors = std::move(tensors);
  }
  if (plan.stage == scheduler::Stage::kDenoise) {
    job.step_run = item.step + 1;
    if (!EndsStep(plan, record)) return absl::OkStatus();
    job.steps_done = item.step + 1;
    record.generation.set_steps_done(record.generation.steps_done() + 1);
    PublishProgress(record, job, item.job, now, commands);
    if (result.has_preview()) OrderPreview(job, result.preview(), attachments, commands);
    if (job.steps_done == Evaluations(record.generation.request())) {
      EnterStage(job, scheduler::Stage::kDecode, now);
    }
  } else if (plan.stage == scheduler::Stage::kDecode) {
    auto pixels = ReadTensor(result.output(), attachments);
    if (!pixels.ok()) return pixels.status();
    if (result.output().shape_size() != 3 || result.output().shape(2) != 3) {
      return Error(absl::StatusCode::kInternal, "OUTPUT_INVALID", "a worker returned no picture");
    }
    job.pixels = *std::move(pixels);
    job.pixel_height = static_cast<int32_t>(result.output().shape(0));
    job.pixel_width = static_cast<int32_t>(result.output().shape(1));
    EnterStage(job, scheduler::Stage::kMediaEncode, now);
  }
  return absl::OkStatus();
}

void Controller::On(MediaDone event, Now now, Commands& commands) {
  const auto node = plans_.extract({kMediaReplica, event.sequence});
  if (node.empty()) return;
  using Outcome = scheduler::PlanFinished::Outcome;
  const auto it = jobs_.find(event.job);
  if (it != jobs_.end() && event.status.ok()) {
    JobRecord& job = it->second;
    GenerationRecord& record = generations_.at(job.generation);
    EnterStage(job, scheduler::Stage::kMediaEncode, now);
    auto* output = record.generation.add_outputs();
    output->set_index(job.output_index);
    output->set_seed(record.generation.request().sampling().seed() + job.output_index);
    output->set_width(job.pixel_width);
    output->set_height(job.pixel_height);
    output->set_media_type("image/png");
    output->set_size_bytes(event.size_bytes);
    output->set_sha256(event.sha256);
    output->set_numerics_id(job.numerics_id);
    const int64_t chunks =
        std::max<int64_t>(1, (event.size_bytes + kOutputChunkBytes - 1) / kOutputChunkBytes);
    v1::GenerateEvent chunk = NewEvent(record, now, chunks);
    chunk.mutable_output_chunk()->set_output_index(job.output_index);
    chunk.mutable_output_chunk()->set_last(true);
    Write(record, {std::move(chunk)}, false, 0, commands);
  }
  if (it != jobs_.end() && !event.status.ok()) {
    Fail(generations_.at(it->second.generation), event.status, now, commands);
  }
  const Outcome outcome = event.status.ok() ? Outcome::kDone : Outcome::kFailed;
  Schedule(
      scheduler::PlanFinished{
          kMediaReplica, event.sequence, event.duration_ns, {{event.job, outcome, false}}},
      now, commands);
  ReleasePlan(node.mapped(), commands);
}

void Controller::On(WorkerGone event, Now now, Commands& commands) {
  spdlog::warn("worker {} is gone: {}", event.worker, event.detail);
  const bool was_ready = fleet_.OnLost(event.worker, event.cause, event.detail, now.mono_ns);
  std::vector<scheduler::RunPlan> lost;
  for (auto it = plans_.begin(); it != plans_.end();) {
    if (it->first.first == event.worker) {
      lost.push_back(std::move(it->second));
      it = plans_.erase(it);
    } else {
      ++it;
    }
  }
  std::erase_if(revoking_, [&](const auto& key) { return key.first == event.worker; });
  if (was_ready) Schedule(scheduler::ReplicaLost{event.worker}, now, commands);
  for (const auto& plan : lost) ReleasePlan(plan, commands);
  if (!draining_ || !generations_.empty()) fleet_.StartDue(now.mono_ns, commands);
  ReportHopeless(commands);
}

void Controller::ReleasePlan(const scheduler::RunPlan& plan, Commands& commands) {
  for (const auto& item : plan.items) {
    const auto owner = owners_.find(item.job);
    if (owner == owners_.end()) continue;
    const std::string name = owner->second.generation;
    if (--owner->second.plans_out == 0) {
      if (!jobs_.contains(item.job)) budgets_.Release(item.job, owner->second.refund);
      owners_.erase(owner);
    }
    --generations_.at(name).plans_out;
    ForgetIfDone(name, commands);
  }
}

void Controller::EnterStage(JobRecord& job, scheduler::Stage stage, Now now) {
  const auto it = generations_.find(job.generation);
  if (it != generations_.end()) {
    it->second.elapsed_by_stage[static_cast<int>(job.stage)] += now.mono_ns - job.stage_since_ns;
  }
  job.stage = stage;
  job.stage_since_ns = now.mono_ns;
}

GenerationRecord* Controller::GenerationOf(scheduler::JobId id) {
  const auto owner = owners_.find(id);
  return owner == owners_.end() ? nullptr : FindLive(owner->second.generation);
}

}  // namespace darkroom::engine
