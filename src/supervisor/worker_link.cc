#include "supervisor/worker_link.h"

#include <sys/epoll.h>

#include <utility>

#include "ipc/unix_stream.h"
#include "supervisor/process.h"

namespace darkroom {
namespace {

uint32_t Events(bool writable) {
  uint32_t events = EPOLLIN;
  if (writable) events |= EPOLLOUT;
  return events;
}

}  // namespace

WorkerLink::WorkerLink(WorkerId id_in, WorkerSpec spec_in) : id(id_in), spec(std::move(spec_in)) {
  auto ends = UnixSocketPair();
  if (!ends.ok()) {
    verdict_ = Verdict{LostCause::kStartFailed, ends.status().ToString()};
    return;
  }
  connection_ = std::make_unique<FrameConnection>(
      std::make_unique<UnixStream>(std::move(ends->first), UnixStream::Mode::kNonBlocking));
  child_socket_ = std::move(ends->second);
}

bool WorkerLink::Send(const v1::ToWorker& message, std::vector<Payload> attachments) {
  MutexLock lock(mutex_);
  return Write(message, std::move(attachments));
}

bool WorkerLink::Write(const v1::ToWorker& message, std::vector<Payload> attachments) {
  if (gone_ || connection_ == nullptr) return false;
  if (const absl::Status status = connection_->Queue(message, std::move(attachments));
      !status.ok()) {
    CondemnLocked({LostCause::kProtocol, std::string(status.message())});
    return false;
  }
  if (blocked_) return true;
  const auto flushed = connection_->Flush();
  if (!flushed.ok()) {
    OnWriteError(flushed.status());
    return false;
  }
  if (!*flushed) {
    blocked_ = true;
    Watch(true);
  }
  return true;
}

void WorkerLink::OnWriteError(const absl::Status& status) {
  gone_ = true;
  // When it has closed its end, the pool's thread sees that too, and soon its death.
  if (!absl::IsUnavailable(status)) {
    CondemnLocked({LostCause::kProtocol, std::string(status.message())});
  }
}

void WorkerLink::Stop(int64_t kill_at_ns) {
  MutexLock lock(mutex_);
  if (!verdict_) verdict_ = Verdict{LostCause::kStopped, "stopped"};
  if (!kill_at_ns_ || *kill_at_ns_ > kill_at_ns) kill_at_ns_ = kill_at_ns;
  v1::ToWorker message;
  message.mutable_shutdown();
  Write(message, {});
}

void WorkerLink::Condemn(Verdict verdict) {
  MutexLock lock(mutex_);
  CondemnLocked(std::move(verdict));
}

void WorkerLink::CondemnLocked(Verdict verdict) {
  if (!verdict_) verdict_ = std::move(verdict);
  // Remembered for a process that is only about to start.
  kill_at_ns_ = 0;
  if (pidfd_) KillProcess(pidfd_.get());
}

bool WorkerLink::Attach(UniqueFd pidfd, int epoll, uint64_t tag) {
  child_socket_.Reset();
  MutexLock lock(mutex_);
  pidfd_number_ = pidfd.get();
  pidfd_ = std::move(pidfd);
  epoll_ = epoll;
  tag_ = tag;
  epoll_event event{};
  event.events = Events(blocked_);
  event.data.u64 = tag_;
  watched_ = ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection_->stream().PollFd(), &event) == 0;
  reading_ = watched_;
  if (!watched_) CondemnLocked({LostCause::kStartFailed, "its connection cannot be watched"});
  return watched_;
}

void WorkerLink::Watch(bool writable) {
  if (!watched_) return;
  epoll_event event{};
  event.events = Events(writable);
  event.data.u64 = tag_;
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection_->stream().PollFd(), &event);
}

void WorkerLink::OnWritable() {
  MutexLock lock(mutex_);
  if (!blocked_ || gone_) return;
  const auto flushed = connection_->Flush();
  if (!flushed.ok()) OnWriteError(flushed.status());
  if (!flushed.ok() || *flushed) {
    blocked_ = false;
    Watch(false);
  }
}

void WorkerLink::StopReading() {
  reading_ = false;
  MutexLock lock(mutex_);
  gone_ = true;
  if (std::exchange(watched_, false)) {
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, connection_->stream().PollFd(), nullptr);
  }
}

std::optional<int64_t> WorkerLink::kill_at_ns() {
  MutexLock lock(mutex_);
  return kill_at_ns_;
}

std::optional<Verdict> WorkerLink::Finish() {
  MutexLock lock(mutex_);
  gone_ = true;
  return verdict_;
}

std::optional<Verdict> WorkerLink::verdict() {
  MutexLock lock(mutex_);
  return verdict_;
}

}  // namespace darkroom
