#pragma once

#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "darkroom/payload.h"
#include "darkroom/v1/worker.pb.h"
#include "ipc/frame_connection.h"

namespace darkroom {

// The writing half of the worker's connection, shared by its two threads. Sends block until
// written: the daemon never blocks on its own sends, so it always comes to read.
class Outbox {
 public:
  explicit Outbox(FrameConnection& connection) : connection_(connection) {}

  // An error means that the daemon is gone or that the message outgrew a frame.
  absl::Status Send(const v1::FromWorker& message, std::vector<Payload> attachments = {});
  // Tells the daemon why the worker ends. Whether it arrives no longer matters.
  void SendFatal(const absl::Status& status);

 private:
  Mutex mutex_;
  FrameConnection& connection_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace darkroom
