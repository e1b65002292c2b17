#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "darkroom/worker_pool.h"
#include "ipc/frame_connection.h"

namespace darkroom {

// Why a worker is lost, as decided before its process ends: the first reason stands.
struct Verdict {
  LostCause cause;
  std::string detail;
};

// One worker's connection and life, shared by the threads that send to it and the pool's thread.
//
// Senders write to the socket themselves, so that a plan does not wait for another thread to wake;
// only what the socket does not take at once is left to the pool's thread, by way of EPOLLOUT.
class WorkerLink {
 public:
  // Without a connection (no descriptor was left) the worker starts lost.
  WorkerLink(WorkerId id, WorkerSpec spec);

  const WorkerId id;
  const WorkerSpec spec;

  // Any thread.

  // False when the worker is gone or must go: its queue is full, or the message fits no frame.
  bool Send(const v1::ToWorker& message, std::vector<Payload> attachments);
  // Says Shutdown; the pool's thread kills it at `kill_at_ns`.
  void Stop(int64_t kill_at_ns);
  // Kills the process now, or as soon as it is known, because of `verdict`.
  void Condemn(Verdict verdict);

  // The pool's thread.

  bool connected() const { return connection_ != nullptr; }
  // The worker's end of the connection; ours to close once the process has it.
  int child_socket() const { return child_socket_.get(); }
  // The process runs. Watches the socket in `epoll` under `tag`. False, and killed, when it cannot.
  bool Attach(UniqueFd pidfd, int epoll, uint64_t tag);
  absl::StatusOr<FrameConnection::ReadState> Read(v1::FromWorker& message,
                                                  std::vector<Payload>& attachments) {
    return connection_->Read(message, attachments);
  }
  // The socket takes more.
  void OnWritable();
  // The peer closed: the socket is not watched any more.
  void StopReading();
  bool reading() const { return reading_; }
  int pidfd() const { return pidfd_number_; }
  // When the process is to be killed for not having gone; nothing when it need not go.
  std::optional<int64_t> kill_at_ns();
  // Nothing can be sent from now on. The verdict so far.
  std::optional<Verdict> Finish();
  std::optional<Verdict> verdict();

  // The pool's thread's own notes.
  bool said_hello = false;
  int64_t hello_due_ns = 0;            // 0: said, or not started
  std::optional<int64_t> exit_due_ns;  // set once the worker said that it ends

 private:
  bool Write(const v1::ToWorker& message, std::vector<Payload> attachments)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CondemnLocked(Verdict verdict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnWriteError(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Watch(bool writable) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  UniqueFd child_socket_;
  int pidfd_number_ = -1;  // the pool's thread's copy of pidfd_'s number
  bool reading_ = false;   // the pool's thread's copy of watched_

  Mutex mutex_;
  // Reading is the pool's thread's alone and needs no lock; writing needs it.
  std::unique_ptr<FrameConnection> connection_;
  UniqueFd pidfd_ ABSL_GUARDED_BY(mutex_);
  int epoll_ ABSL_GUARDED_BY(mutex_) = -1;
  uint64_t tag_ ABSL_GUARDED_BY(mutex_) = 0;
  bool watched_ ABSL_GUARDED_BY(mutex_) = false;
  bool blocked_ ABSL_GUARDED_BY(mutex_) = false;  // frames wait for EPOLLOUT
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<int64_t> kill_at_ns_ ABSL_GUARDED_BY(mutex_);
  std::optional<Verdict> verdict_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace darkroom
