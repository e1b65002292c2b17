#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "darkroom/payload.h"
#include "darkroom/v1/worker.pb.h"

namespace darkroom {

using WorkerId = int32_t;

// How to start one worker process.
struct WorkerSpec {
  std::string program;            // absolute path
  std::vector<std::string> args;  // after argv[0]; the socket's is added by the pool
  int threads = 1;
};

enum class LostCause { kStartFailed, kExited, kKilled, kProtocol, kStopped };

// What workers say, in order per worker. Called on the pool's own thread; must not block.
class WorkerSink {
 public:
  virtual ~WorkerSink() = default;
  // `attachments`: what the message's TensorRef.memfd_index points into.
  virtual void OnWorkerMessage(WorkerId worker, v1::FromWorker message,
                               std::vector<Payload> attachments) = 0;
  // Exactly once per started worker, after its last message. `detail` is for the log.
  virtual void OnWorkerLost(WorkerId worker, LostCause cause, std::string detail) = 0;
};

// Starts workers, talks to them and notices their death (under 100 ms). Restarting is the engine's
// decision. Thread-safe; nothing blocks.
class WorkerPool {
 public:
  virtual ~WorkerPool() = default;
  // REQUIRES: `worker` was never used before with this pool. The outcome comes through the sink: a
  // Hello, or OnWorkerLost.
  virtual void Start(WorkerId worker, const WorkerSpec& spec) = 0;
  // Queues a message. False when the worker is gone or its queue is full (it is then killed: a
  // worker that does not read is lost).
  virtual bool Send(WorkerId worker, v1::ToWorker message, std::vector<Payload> attachments) = 0;
  // Asks it to finish the running plan and exit; kills it after `grace_ms`.
  virtual void Stop(WorkerId worker, int64_t grace_ms) = 0;
  virtual void Kill(WorkerId worker) = 0;
};

}  // namespace darkroom
