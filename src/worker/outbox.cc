#include "worker/outbox.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "base/logging.h"

namespace darkroom {

absl::Status Outbox::Send(const v1::FromWorker& message, std::vector<Payload> attachments) {
  MutexLock lock(mutex_);
  if (absl::Status status = connection_.Queue(message, std::move(attachments)); !status.ok()) {
    return status;
  }
  return connection_.Flush().status();
}

void Outbox::SendFatal(const absl::Status& status) {
  spdlog::error("the worker ends: {}", std::string(status.message()));
  v1::FromWorker message;
  *message.mutable_fatal() = ToProto(status);
  Send(message).IgnoreError();
}

}  // namespace darkroom
