#include "worker/worker.h"

#include <unistd.h>

#include <exception>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/logging.h"
#include "ipc/protocol.h"

namespace darkroom {

Worker::Worker(std::unique_ptr<ByteStream> stream, PipelineFactory factory, WorkerOptions options)
    : options_(std::move(options)),
      connection_(std::move(stream)),
      outbox_(connection_),
      executor_(std::move(factory), Executor::Options{options_.clock, options_.cost_probe_ns_max},
                commands_, outbox_,
                // Wakes the reader out of its read, so that Run returns.
                [this] { connection_.stream().CloseRead(); }) {}

Worker::~Worker() = default;

int Worker::Run() {
  if (!SayHello().ok()) return 0;
  std::thread executor([this] { executor_.Run(); });
  absl::StatusOr<Next> end = absl::InternalError("");
  try {
    end = ReadUntilEnd();
  } catch (const std::exception& exception) {
    end = absl::ResourceExhaustedError(absl::StrCat("reading a message: ", exception.what()));
  }
  if (!end.ok()) outbox_.SendFatal(end.status());
  // Nobody reads any more: who still sends must learn that instead of filling the socket.
  connection_.stream().CloseRead();
  const bool shut_down = end.ok() && *end == Next::kShutDown;
  executor_.Drain();
  commands_.Close();
  const auto exit_code = [&] { return end.ok() && !executor_.failed() ? 0 : 1; };
  // An executor that failed has ended already; any other may be in the middle of a long step.
  if (!shut_down && !executor_.failed() && options_.exit_now) options_.exit_now(exit_code());
  executor.join();
  return exit_code();
}

absl::Status Worker::SayHello() {
  v1::FromWorker message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_protocol_version(kWorkerProtocolVersion);
  hello.set_pid(static_cast<int32_t>(::getpid()));
  hello.set_rank(options_.rank);
  hello.set_backend(options_.backend);
  hello.set_device(options_.device);
  hello.set_memory_bytes(options_.memory_bytes);
  return outbox_.Send(message);
}

absl::StatusOr<Worker::Next> Worker::ReadUntilEnd() {
  for (;;) {
    v1::ToWorker message;
    std::vector<Payload> attachments;
    const auto state = connection_.Read(message, attachments);
    // A daemon that was killed may leave half a frame: that too is only its end.
    if (absl::IsDataLoss(state.status())) return Next::kGoOn;
    if (!state.ok()) return state.status();
    if (*state == FrameConnection::ReadState::kEnd) return Next::kGoOn;
    auto next = Handle(std::move(message), std::move(attachments));
    if (!next.ok() || *next == Next::kShutDown) return next;
  }
}

absl::StatusOr<Worker::Next> Worker::Handle(v1::ToWorker message,
                                            std::vector<Payload> attachments) {
  absl::Status status;
  switch (message.message_case()) {
    case v1::ToWorker::kLoadModel:
      status = OnLoadModel(std::move(*message.mutable_load_model()), std::move(attachments));
      break;
    case v1::ToWorker::kOpenSlot:
      status = OnOpenSlot(std::move(*message.mutable_open_slot()), std::move(attachments));
      break;
    case v1::ToWorker::kCloseSlot:
      OnCloseSlot(message.close_slot());
      break;
    case v1::ToWorker::kPlan:
      status = OnPlan(std::move(*message.mutable_plan()));
      break;
    case v1::ToWorker::kRevokePlan:
      status = OnRevoke(message.revoke_plan());
      break;
    case v1::ToWorker::kPing: {
      v1::FromWorker pong;
      pong.mutable_pong()->set_nonce(message.ping().nonce());
      status = outbox_.Send(pong);
      // Gone; the next read sees the end.
      if (absl::IsUnavailable(status)) status = absl::OkStatus();
      break;
    }
    case v1::ToWorker::kShutdown:
      return Next::kShutDown;
    case v1::ToWorker::MESSAGE_NOT_SET:
      status = absl::InvalidArgumentError("an empty message, or one that this version lacks");
      break;
  }
  if (!status.ok()) return status;
  return Next::kGoOn;
}

absl::Status Worker::Enqueue(Command command) {
  if (commands_.TryPush(std::move(command))) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("more than ", kCommandsQueuedMax, " commands wait"));
}

absl::Status Worker::OnLoadModel(v1::LoadModel request, std::vector<Payload> attachments) {
  // The executor answers for wrong values; the table needs a size that is safe.
  const bool first = !std::exchange(load_requested_, true);
  if (first && request.slots() >= 1 && request.slots() <= kWorkerSlotsMax) {
    leases_.SetSlots(request.slots());
  }
  return Enqueue(LoadCommand{std::move(request), std::move(attachments)});
}

absl::Status Worker::OnOpenSlot(v1::OpenSlot request, std::vector<Payload> attachments) {
  auto lease = leases_.Open(request);
  if (!lease.ok()) {
    v1::FromWorker message;
    message.mutable_slot_opened()->set_slot(request.slot());
    message.mutable_slot_opened()->set_lease_epoch(request.lease_epoch());
    *message.mutable_slot_opened()->mutable_status() = ToProto(lease.status());
    const absl::Status sent = outbox_.Send(message);
    return absl::IsUnavailable(sent) ? absl::OkStatus() : sent;
  }
  return Enqueue(OpenCommand{std::move(request), std::move(attachments), *std::move(lease)});
}

void Worker::OnCloseSlot(const v1::CloseSlot& request) {
  std::shared_ptr<Lease> lease = leases_.Close(request.slot(), request.lease_epoch());
  if (lease == nullptr) return;
  // Past the bound: there is at most one for each OpenCommand that was within it, and a slot that
  // never closes is lost.
  commands_.Push(CloseCommand{std::move(lease)});
}

absl::Status Worker::OnPlan(v1::BatchPlan plan) {
  while (!tickets_.empty() && tickets_.front()->finished()) tickets_.pop_front();
  if (tickets_.size() >= kPlansQueuedMax) {
    return absl::ResourceExhaustedError(absl::StrCat("more than ", kPlansQueuedMax, " plans wait"));
  }
  if (plan.jobs_size() > kWorkerPlanJobsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a plan of ", plan.jobs_size(), " jobs; at most ", kWorkerPlanJobsMax));
  }
  PlanCommand command;
  command.ticket = std::make_shared<PlanTicket>(plan.gang_epoch(), plan.sequence());
  absl::Status status = order_.Check(plan);
  if (status.ok()) status = CheckPlan(plan);
  for (const v1::PlanJob& job : plan.jobs()) {
    PlanEntry entry;
    if (!status.ok()) {
      entry.refusal = ToProto(status);
    } else if (auto lease = leases_.Find(job); lease.ok()) {
      entry.lease = *std::move(lease);
    } else {
      entry.refusal = ToProto(lease.status());
    }
    command.entries.push_back(std::move(entry));
  }
  command.plan = std::move(plan);
  tickets_.push_back(command.ticket);
  return Enqueue(std::move(command));
}

absl::Status Worker::OnRevoke(const v1::RevokePlan& request) {
  for (const auto& ticket : tickets_) {
    const bool meant =
        ticket->gang_epoch() == request.gang_epoch() && ticket->sequence() == request.sequence();
    if (!meant || !ticket->Revoke()) continue;
    // From here, since the executor may be in the middle of a long step; one that has begun was
    // answered with its PlanStarted.
    v1::FromWorker message;
    message.mutable_plan_done()->set_gang_epoch(request.gang_epoch());
    message.mutable_plan_done()->set_sequence(request.sequence());
    message.mutable_plan_done()->set_revoked(true);
    const absl::Status sent = outbox_.Send(message);
    return absl::IsUnavailable(sent) ? absl::OkStatus() : sent;
  }
  return absl::OkStatus();
}

}  // namespace darkroom
