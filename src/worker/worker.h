#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "base/clock.h"
#include "darkroom/payload.h"
#include "darkroom/pipeline.h"
#include "darkroom/v1/worker.pb.h"
#include "ipc/frame_connection.h"
#include "worker/commands.h"
#include "worker/executor.h"
#include "worker/lease.h"
#include "worker/limits.h"
#include "worker/outbox.h"
#include "worker/plan_check.h"

namespace darkroom {

struct WorkerOptions {
  // For Hello.
  std::string backend = "cpu";
  std::string device;
  int64_t memory_bytes = 0;
  int32_t rank = 0;

  const Clock* clock = &Clock::Real();
  // 0 measures nothing: ModelLoaded then has no cost points.
  int64_t cost_probe_ns_max = kCostProbeNanosMax;
  // Called when the daemon is gone or the worker cannot go on, with the exit code, while a long
  // step may still be running. A process ends itself here; null lets Run wait for the step.
  std::function<void(int)> exit_now;
};

// One rank: carries out what the daemon says over a connection (worker.proto).
//
// Two threads. The reader, which calls Run, takes messages as they come, so that a cancellation, a
// revocation or a ping is heard while a step runs; it keeps the lease table and hands everything
// else, in order, to the executor, which alone touches the pipeline.
//
// The worker trusts nothing in a message: a wrong entry of a plan fails alone; a broken frame, an
// empty envelope or more queued work than limits.h allows ends the worker.
class Worker {
 public:
  // `stream` blocks.
  Worker(std::unique_ptr<ByteStream> stream, PipelineFactory factory, WorkerOptions options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Says Hello and serves until Shutdown or the end of the stream (0), or a failure that the daemon
  // was told of (1). Once.
  int Run();

 private:
  // What to do after a message.
  enum class Next { kGoOn, kShutDown };

  absl::Status SayHello();
  absl::StatusOr<Next> ReadUntilEnd();
  absl::StatusOr<Next> Handle(v1::ToWorker message, std::vector<Payload> attachments);
  absl::Status OnLoadModel(v1::LoadModel request, std::vector<Payload> attachments);
  absl::Status OnOpenSlot(v1::OpenSlot request, std::vector<Payload> attachments);
  void OnCloseSlot(const v1::CloseSlot& request);
  absl::Status OnPlan(v1::BatchPlan plan);
  absl::Status OnRevoke(const v1::RevokePlan& request);
  absl::Status Enqueue(Command command);

  const WorkerOptions options_;
  FrameConnection connection_;
  Outbox outbox_;
  BoundedQueue<Command> commands_{kCommandsQueuedMax};
  Executor executor_;

  // The reader's own.
  LeaseTable leases_;
  PlanOrder order_;
  bool load_requested_ = false;
  std::deque<std::shared_ptr<PlanTicket>> tickets_;  // of plans not known to be finished
};

}  // namespace darkroom
