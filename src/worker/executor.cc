#include "worker/executor.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/logging.h"
#include "base/numerics.h"
#include "worker/cost_probe.h"
#include "worker/limits.h"
#include "worker/packed_model.h"
#include "worker/plan_check.h"

namespace darkroom {
namespace {

absl::Status OutOfMemory() {
  return Error(absl::StatusCode::kResourceExhausted, "WORKER_OUT_OF_MEMORY",
               "the worker has no memory for this job");
}

absl::Status Broken(const std::string& message) {
  return Error(absl::StatusCode::kInternal, "PIPELINE_BROKEN", message);
}

// Turns what a library threw into a status; nothing thrown may cross into the daemon's protocol.
template <typename Body>
absl::Status Guarded(Body&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  } catch (const std::exception& exception) {
    spdlog::error("the pipeline threw: {}", exception.what());
    return Broken("the model failed unexpectedly");
  }
}

absl::Status CheckLoad(const v1::LoadModel& request) {
  const auto invalid = [](std::string_view reason, const std::string& message) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, reason, message));
  };
  if (request.slots() < 1 || request.slots() > kWorkerSlotsMax) {
    return invalid("SLOTS_OUT_OF_RANGE", absl::StrCat("slots is ", request.slots(),
                                                      "; it must be 1 to ", kWorkerSlotsMax));
  }
  if (request.step_tokens_max() < 0) {
    return invalid("STEP_TOKENS_OUT_OF_RANGE", "step_tokens_max must be 0 or more");
  }
  if (request.precision() != "f32" && request.precision() != "bf16") {
    return invalid("PRECISION_UNKNOWN", "precision must be f32 or bf16");
  }
  const v1::ParallelPlan& parallel = request.parallel();
  for (const int32_t degree : {parallel.tensor(), parallel.pipeline(), parallel.sequence(),
                               parallel.ring(), parallel.expert(), parallel.cfg()}) {
    if (degree < 0 || degree > 1) {
      return Error(absl::StatusCode::kUnimplemented, "PARALLEL_UNSUPPORTED",
                   "this worker runs alone: every parallel degree must be 1");
    }
  }
  return absl::OkStatus();
}

// Fills `out` with the outcome's checkpoint and gives its tensors to `tensors`.
absl::Status PutCheckpoint(JobOutcome& outcome, const Lease& lease, TensorWriter& tensors,
                           v1::Checkpoint& out) {
  out = *std::move(outcome.checkpoint);
  const size_t due = 1 + static_cast<size_t>(out.sampler_state_size());
  if (outcome.checkpoint_tensors.size() != due) {
    return Broken(absl::StrCat("a checkpoint names ", due, " tensors and has ",
                               outcome.checkpoint_tensors.size()));
  }
  out.set_step(lease.next_step);
  out.set_numerics_id(lease.numerics_id);
  for (size_t i = 0; i < due; ++i) {
    v1::TensorRef& ref =
        i == 0 ? *out.mutable_latents() : *out.mutable_sampler_state(static_cast<int>(i) - 1);
    const absl::Status status = tensors.Put(outcome.checkpoint_tensors[i], ref);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// A preview that does not fit is left out: no picture is worth less than its preview.
void PutPreview(const JobOutcome& outcome, int size_max, TensorWriter& tensors,
                v1::PlanDone::JobResult& result) {
  absl::Status put = Broken("a preview is larger than was asked for");
  if (std::max(outcome.preview_width, outcome.preview_height) <= size_max) {
    v1::TensorRef& ref = *result.mutable_preview();
    ref.set_dtype(v1::DTYPE_U8);
    for (const int64_t dim : {outcome.preview_height, outcome.preview_width, 3}) ref.add_shape(dim);
    put = tensors.Put(outcome.preview, ref);
  }
  if (put.ok()) return;
  spdlog::warn("a preview was left out: {}", put.ToString());
  result.clear_preview();
}

}  // namespace

Executor::Executor(PipelineFactory factory, const Options& options, BoundedQueue<Command>& commands,
                   Outbox& outbox, std::function<void()> stopped)
    : factory_(std::move(factory)),
      options_(options),
      commands_(commands),
      outbox_(outbox),
      stopped_(std::move(stopped)) {}

void Executor::Run() {
  std::vector<Command> batch;
  while (commands_.PopAll(batch, 1, -1)) {
    for (Command& command : batch) {
      const absl::Status status = Guarded([&] {
        return std::visit([this](auto& concrete) { return Execute(concrete); }, command);
      });
      if (status.ok()) continue;
      // When the daemon is gone nobody is left to be told.
      if (!absl::IsUnavailable(status)) {
        failed_.store(true);
        outbox_.SendFatal(status);
      }
      stopped_();
      return;
    }
    batch.clear();
  }
}

absl::Status Executor::Execute(LoadCommand& command) {
  if (draining_.load()) return absl::OkStatus();
  v1::FromWorker message;
  v1::ModelLoaded& reply = *message.mutable_model_loaded();
  std::vector<Payload> attachments;
  const absl::Status status = Guarded([&] { return Load(command, reply, attachments); });
  // The segments of other workers: the pipeline keeps what it uses of them.
  command.attachments.clear();
  if (!status.ok()) {
    reply.Clear();
    attachments.clear();
    reply.mutable_model()->set_name(command.request.name());
    *reply.mutable_status() = ToProto(status);
  }
  return outbox_.Send(message, std::move(attachments));
}

absl::Status Executor::Load(const LoadCommand& command, v1::ModelLoaded& reply,
                            std::vector<Payload>& attachments) {
  const v1::LoadModel& request = command.request;
  if (std::exchange(load_attempted_, true)) {
    return Error(absl::StatusCode::kFailedPrecondition, "MODEL_ALREADY_LOADED",
                 "a worker loads one model; start another for another");
  }
  if (absl::Status status = CheckLoad(request); !status.ok()) return status;
  PackedModel packed;
  if (absl::Status status = LoadPipeline(command, packed); !status.ok()) return status;
  PackedModelMessage message = WritePackedModel(std::move(packed));
  if (!message.attachments.empty()) *reply.mutable_packed() = std::move(message.weights);
  attachments = std::move(message.attachments);
  if (options_.cost_probe_ns_max > 0) {
    const CostCurve curve = MeasureCost(*pipeline_, request.slots(), request.step_tokens_max(),
                                        options_.cost_probe_ns_max, *options_.clock);
    reply.mutable_cost()->Add(curve.points.begin(), curve.points.end());
    if (curve.encode_ns > 0) {
      v1::ModelLoaded::CostPoint& encode = *reply.add_cost();
      encode.set_stage(v1::STAGE_ENCODE);
      encode.set_tokens(1);
      encode.set_nanos(curve.encode_ns);
    }
    reply.set_knee_tokens(curve.knee_tokens);
  }
  *reply.mutable_model() = pipeline_->model();
  *reply.mutable_numerics() = pipeline_->numerics();
  reply.set_token_pixels(pipeline_->token_pixels());
  reply.set_text_tokens(pipeline_->model().limits().sequence_length_max());
  reply.set_blocks(Blocks());
  return absl::OkStatus();
}

absl::Status Executor::LoadPipeline(const LoadCommand& command, PackedModel& packed) {
  const v1::LoadModel& request = command.request;
  LoadOptions options;
  options.name = request.name();
  options.precision = request.precision() == "bf16" ? DType::kBf16 : DType::kF32;
  options.slots = request.slots();
  options.step_tokens_max = request.step_tokens_max();
  options.progress = [this](int64_t done, int64_t total) {
    SendProgress(done, total).IgnoreError();
  };
  options.packed_out = &packed;
  PackedModel given;
  if (request.has_packed()) {
    absl::StatusOr<PackedModel> read = ReadPackedModel(request.packed(), command.attachments);
    if (read.ok()) {
      given = *std::move(read);
      options.packed = &given;
    } else {
      spdlog::warn("packed weights came broken: {}", std::string(read.status().message()));
    }
  }
  absl::StatusOr<std::unique_ptr<Pipeline>> pipeline = factory_(request.path(), options);
  if (options.packed != nullptr && ErrorReason(pipeline.status()) == "SHARED_WEIGHTS_MISMATCH") {
    spdlog::warn("{}", std::string(pipeline.status().message()));
    options.packed = nullptr;
    pipeline = factory_(request.path(), options);
  }
  if (!pipeline.ok()) return pipeline.status();
  pipeline_ = *std::move(pipeline);
  return absl::OkStatus();
}

absl::Status Executor::SendProgress(int64_t done, int64_t total) {
  const int64_t now_ns = options_.clock->MonotonicNanos();
  if (done < total && now_ns - progress_sent_ns_ < kLoadProgressIntervalNanos) {
    return absl::OkStatus();
  }
  progress_sent_ns_ = now_ns;
  v1::FromWorker message;
  message.mutable_load_progress()->set_bytes_done(done);
  message.mutable_load_progress()->set_bytes_total(total);
  return outbox_.Send(message);
}

absl::Status Executor::Execute(OpenCommand& command) {
  if (draining_.load()) return absl::OkStatus();
  v1::FromWorker message;
  v1::SlotOpened& reply = *message.mutable_slot_opened();
  reply.set_slot(command.request.slot());
  reply.set_lease_epoch(command.request.lease_epoch());
  const absl::Status status = Guarded([&] { return Open(command); });
  if (!status.ok()) {
    // Plans that were sent meanwhile get the same answer.
    command.lease->failure = ToProto(status);
    // Unless the reader closed it already, which says the same.
    Lease::State held = Lease::State::kHeld;
    command.lease->state.compare_exchange_strong(held, Lease::State::kOpenFailed);
    *reply.mutable_status() = ToProto(status);
  }
  return outbox_.Send(message);
}

absl::Status Executor::Open(const OpenCommand& command) {
  const v1::OpenSlot& request = command.request;
  Lease& lease = *command.lease;
  if (lease.state.load() == Lease::State::kClosed) {
    return Error(absl::StatusCode::kCancelled, "LEASE_CLOSED", "closed before it was opened");
  }
  if (pipeline_ == nullptr) {
    return Error(absl::StatusCode::kFailedPrecondition, "MODEL_NOT_LOADED", "no model is loaded");
  }
  if (absl::Status status = CheckOpenSlot(request); !status.ok()) return status;
  std::vector<Payload> tensors;
  if (request.has_checkpoint()) {
    const v1::Checkpoint& checkpoint = request.checkpoint();
    if (checkpoint.numerics_id() != JobNumericsId(request)) {
      return Error(absl::StatusCode::kFailedPrecondition, "NUMERICS_MISMATCH",
                   "the checkpoint was made where other bits come out; resume it on a worker with "
                   "its numerics_id");
    }
    auto latents = ReadTensor(checkpoint.latents(), command.attachments);
    if (!latents.ok()) return latents.status();
    tensors.push_back(*std::move(latents));
    for (const v1::TensorRef& ref : checkpoint.sampler_state()) {
      auto tensor = ReadTensor(ref, command.attachments);
      if (!tensor.ok()) return tensor.status();
      tensors.push_back(*std::move(tensor));
    }
  }
  JobInputs inputs;
  if (request.has_init_image()) {
    auto image = ReadTensor(request.init_image(), command.attachments);
    if (!image.ok()) return image.status();
    inputs.init_image = *std::move(image);
  }
  if (request.has_mask()) {
    auto mask = ReadTensor(request.mask(), command.attachments);
    if (!mask.ok()) return mask.status();
    inputs.mask = *std::move(mask);
  }
  if (absl::Status status = pipeline_->Open(request, tensors, inputs); !status.ok()) return status;
  lease.open = true;
  lease.width = request.width();
  lease.height = request.height();
  lease.steps = SlotEvaluations(request);
  lease.has_image = request.has_init_image();
  lease.first_step = request.has_checkpoint() ? request.checkpoint().step() : 0;
  lease.next_step = lease.first_step;
  lease.numerics_id = JobNumericsId(request);
  return absl::OkStatus();
}

std::string Executor::JobNumericsId(const v1::OpenSlot& request) const {
  v1::Numerics numerics = pipeline_->numerics();
  for (const v1::AdapterUse& adapter : request.adapters()) {
    numerics.add_adapter_digests(adapter.digest());
  }
  return NumericsId(numerics);
}

absl::Status Executor::Execute(CloseCommand& command) {
  // Always wiped: who comes next is not known yet, and nothing of a tenant may outlive its lease.
  if (std::exchange(command.lease->open, false)) pipeline_->Close(command.lease->slot, true);
  return absl::OkStatus();
}

absl::Status Executor::Execute(PlanCommand& command) {
  const v1::BatchPlan& plan = command.plan;
  if (!command.ticket->Begin()) {
    command.ticket->Finish();  // revoked, which the reader has said
    return absl::OkStatus();
  }
  v1::FromWorker message;
  v1::PlanDone& done = *message.mutable_plan_done();
  done.set_gang_epoch(plan.gang_epoch());
  done.set_sequence(plan.sequence());
  if (draining_.load()) {
    command.ticket->Finish();
    done.set_revoked(true);
    return outbox_.Send(message);
  }
  // Both ends of every quantum are read here, on one thread, so that quanta cannot overlap and what
  // lies between two of them is idle time, slots opening and closing, or loading.
  done.set_start_nanos(options_.clock->MonotonicNanos());
  v1::FromWorker started;
  started.mutable_plan_started()->set_gang_epoch(plan.gang_epoch());
  started.mutable_plan_started()->set_sequence(plan.sequence());
  if (absl::Status status = outbox_.Send(started); !status.ok()) return status;

  const std::vector<int> live = Admit(command, done);
  std::vector<JobOutcome> outcomes(static_cast<size_t>(plan.jobs_size()));
  if (!live.empty()) {
    const absl::Status status = RunStage(plan, live, absl::MakeSpan(outcomes));
    if (!status.ok()) return status;
  }
  TensorWriter tensors;
  for (const int index : live) {
    Report(plan, plan.jobs(index), *command.entries[index].lease, outcomes[index], tensors,
           *done.mutable_jobs(index));
  }
  if (pipeline_ != nullptr) done.set_parked_bytes(pipeline_->parked_bytes());
  done.set_end_nanos(options_.clock->MonotonicNanos());
  command.ticket->Finish();
  return outbox_.Send(message, tensors.TakeAttachments());
}

std::vector<int> Executor::Admit(const PlanCommand& command, v1::PlanDone& done) {
  std::vector<int> live;
  for (int i = 0; i < command.plan.jobs_size(); ++i) {
    const PlanEntry& entry = command.entries[i];
    v1::PlanDone::JobResult& result = *done.add_jobs();
    result.set_slot(command.plan.jobs(i).slot());
    result.set_lease_epoch(command.plan.jobs(i).lease_epoch());
    if (entry.refusal) {
      *result.mutable_status() = *entry.refusal;
    } else if (entry.lease == nullptr || entry.lease->state.load() == Lease::State::kClosed) {
      result.set_skipped(true);
    } else if (entry.lease->failure) {
      *result.mutable_status() = *entry.lease->failure;
    } else if (const absl::Status status = CheckEntry(command.plan, command.entries, i, Blocks());
               !status.ok()) {
      *result.mutable_status() = ToProto(status);
    } else {
      live.push_back(i);
    }
  }
  return live;
}

absl::Status Executor::RunStage(const v1::BatchPlan& plan, absl::Span<const int> live,
                                absl::Span<JobOutcome> outcomes) {
  bool threw = true;
  const absl::Status status = Guarded([&]() -> absl::Status {
    absl::Status result;
    switch (plan.stage()) {
      case v1::STAGE_ENCODE:
        result = pipeline_->Encode(plan, live, outcomes);
        break;
      case v1::STAGE_IMAGE_ENCODE:
        result = pipeline_->EncodeImage(plan, live, outcomes);
        break;
      case v1::STAGE_DENOISE:
        result = pipeline_->Denoise(plan, live, outcomes);
        break;
      case v1::STAGE_DECODE:
        result = pipeline_->Decode(plan, live, outcomes);
        break;
      default:
        result = absl::InternalError("an unknown stage was admitted");
        break;
    }
    threw = false;
    return result;
  });
  // Alone in its batch, a job answers for what was thrown. With others there is no telling which
  // one it was or how far each came: the worker ends and the daemon decides.
  if (threw && live.size() == 1) {
    outcomes[live[0]] = JobOutcome{};
    outcomes[live[0]].status = status;
    return absl::OkStatus();
  }
  return status;
}

void Executor::Report(const v1::BatchPlan& plan, const v1::PlanJob& job, Lease& lease,
                      JobOutcome& outcome, TensorWriter& tensors, v1::PlanDone::JobResult& result) {
  result.set_step_index(job.step_index());
  absl::Status status = outcome.status;
  if (status.ok() && plan.stage() == v1::STAGE_IMAGE_ENCODE) lease.image_encoded = true;
  if (status.ok() && plan.stage() == v1::STAGE_DENOISE) {
    lease.next_block = BlocksOf(plan, Blocks()).last % Blocks();
    if (lease.next_block == 0) ++lease.next_step;
    result.set_sigma(outcome.sigma);
    if (lease.next_block == 0) ReportStep(job, lease, outcome, tensors, result);
  }
  if (status.ok() && plan.stage() == v1::STAGE_DECODE && job.returns().output()) {
    v1::TensorRef& ref = *result.mutable_output();
    ref.set_dtype(v1::DTYPE_U8);
    for (const int64_t dim : {lease.height, lease.width, 3}) ref.add_shape(dim);
    status = tensors.Put(outcome.output, ref);
    if (absl::IsInvalidArgument(status))
      status = Broken("the model made a picture of a wrong size");
  }
  if (status.ok()) return;
  lease.failure = ToProto(status);
  result.clear_output();
  *result.mutable_status() = *lease.failure;
}

// What comes back after a step.
void Executor::ReportStep(const v1::PlanJob& job, const Lease& lease, JobOutcome& outcome,
                          TensorWriter& tensors, v1::PlanDone::JobResult& result) {
  if (outcome.latents_hash) result.set_latents_hash(*outcome.latents_hash);
  if (job.returns().checkpoint() && outcome.checkpoint) {
    const absl::Status put = PutCheckpoint(outcome, lease, tensors, *result.mutable_checkpoint());
    if (!put.ok()) {
      // The job goes on without: a later checkpoint will do.
      spdlog::warn("a checkpoint was left out: {}", put.ToString());
      result.clear_checkpoint();
    }
  }
  if (job.returns().preview() && !outcome.preview.empty()) {
    PutPreview(outcome, job.returns().preview_size_max(), tensors, result);
  }
}

}  // namespace darkroom
