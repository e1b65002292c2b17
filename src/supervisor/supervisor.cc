#include "supervisor/supervisor.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "ipc/protocol.h"
#include "supervisor/process.h"

namespace darkroom {
namespace {

// What an epoll event is about: the lowest bits of its tag; the worker's id is above them.
constexpr uint64_t kWakeTag = 0;
constexpr uint64_t kSocketTag = 1;
constexpr uint64_t kProcessTag = 2;
constexpr int kTagBits = 2;

uint64_t Tag(WorkerId worker, uint64_t kind) {
  return static_cast<uint64_t>(static_cast<uint32_t>(worker)) << kTagBits | kind;
}

int64_t NowNanos() { return Clock::Real().MonotonicNanos(); }

bool Watch(int epoll, int fd, uint64_t tag) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(WorkerSink& sink,
                                                               const Options& options) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return absl::ErrnoToStatus(errno, "epoll_create1");
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake || !Watch(epoll.get(), wake.get(), kWakeTag)) {
    return absl::ErrnoToStatus(errno, "eventfd");
  }
  return std::unique_ptr<Supervisor>(
      new Supervisor(sink, options, std::move(epoll), std::move(wake)));
}

Supervisor::Supervisor(WorkerSink& sink, const Options& options, UniqueFd epoll, UniqueFd wake)
    : sink_(sink), options_(options), epoll_(std::move(epoll)), wake_(std::move(wake)) {
  thread_ = std::thread([this] { Run(); });
}

Supervisor::~Supervisor() {
  closing_.store(true);
  Wake();
  thread_.join();
}

void Supervisor::Wake() {
  const uint64_t one = 1;
  // Full means that it is awake already.
  (void)!::write(wake_.get(), &one, sizeof(one));
}

Supervisor::LinkPtr Supervisor::Find(WorkerId worker) {
  MutexLock lock(mutex_);
  const auto found = links_.find(worker);
  return found == links_.end() ? nullptr : found->second;
}

std::vector<Supervisor::LinkPtr> Supervisor::Links() {
  MutexLock lock(mutex_);
  std::vector<LinkPtr> links;
  links.reserve(links_.size());
  for (const auto& [id, link] : links_) links.push_back(link);
  return links;
}

void Supervisor::Start(WorkerId worker, const WorkerSpec& spec) {
  auto link = std::make_shared<WorkerLink>(worker, spec);
  {
    MutexLock lock(mutex_);
    links_.emplace(worker, link);
    pending_.push_back(std::move(link));
  }
  Wake();
}

bool Supervisor::Send(WorkerId worker, v1::ToWorker message, std::vector<Payload> attachments) {
  const LinkPtr link = Find(worker);
  return link != nullptr && link->Send(message, std::move(attachments));
}

void Supervisor::Stop(WorkerId worker, int64_t grace_ms) {
  const LinkPtr link = Find(worker);
  if (link == nullptr) return;
  link->Stop(NowNanos() + std::clamp<int64_t>(grace_ms, 0, kStopGraceMsMax) * 1'000'000);
  // The pool's thread must count this deadline in.
  Wake();
}

void Supervisor::Kill(WorkerId worker) {
  const LinkPtr link = Find(worker);
  if (link != nullptr) link->Condemn({LostCause::kKilled, "killed as asked"});
}

void Supervisor::Run() {
  ::pthread_setname_np(::pthread_self(), "supervisor");
  while (!closing_.load()) {
    epoll_event events[kEventsPerWaitMax];
    const int count = ::epoll_wait(epoll_.get(), events, kEventsPerWaitMax, TimeoutMs());
    for (int i = 0; i < count; ++i) HandleEvent(events[i].data.u64, events[i].events);
    StartPending();
    EnforceDeadlines();
  }
  CloseDown();
}

int Supervisor::TimeoutMs() {
  int64_t due_ns = std::numeric_limits<int64_t>::max();
  for (const LinkPtr& link : Links()) {
    if (link->hello_due_ns > 0) due_ns = std::min(due_ns, link->hello_due_ns);
    if (link->exit_due_ns) due_ns = std::min(due_ns, *link->exit_due_ns);
    // Killed already, and only waited for, when it is in the past.
    if (const auto kill_ns = link->kill_at_ns(); kill_ns && *kill_ns > 0) {
      due_ns = std::min(due_ns, *kill_ns);
    }
  }
  if (due_ns == std::numeric_limits<int64_t>::max()) return -1;
  const int64_t wait_ms = (due_ns - NowNanos()) / 1'000'000 + 1;
  return static_cast<int>(std::clamp<int64_t>(wait_ms, 0, std::numeric_limits<int>::max()));
}

void Supervisor::HandleEvent(uint64_t tag, uint32_t events) {
  const uint64_t kind = tag & ((1 << kTagBits) - 1);
  if (kind == kWakeTag) {
    uint64_t count = 0;
    (void)!::read(wake_.get(), &count, sizeof(count));
    return;
  }
  const LinkPtr link = Find(static_cast<WorkerId>(static_cast<uint32_t>(tag >> kTagBits)));
  // Lost by an earlier event of the same batch.
  if (link == nullptr) return;
  if (kind == kProcessTag) {
    OnProcessEnd(link);
    return;
  }
  if ((events & EPOLLOUT) != 0) link->OnWritable();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && link->reading()) {
    ReadMessages(link, kMessagesPerTurnMax);
  }
}

void Supervisor::StartPending() {
  std::vector<LinkPtr> pending;
  {
    MutexLock lock(mutex_);
    pending.swap(pending_);
  }
  for (const LinkPtr& link : pending) Spawn(link);
}

void Supervisor::Spawn(const LinkPtr& link) {
  // No connection, or stopped or killed before it began.
  if (const auto verdict = link->verdict(); verdict) {
    Lose(link, verdict->cause, verdict->detail);
    return;
  }
  auto child = StartProcess(link->spec, link->child_socket());
  if (!child.ok()) {
    Lose(link, LostCause::kStartFailed, child.status().ToString());
    return;
  }
  link->hello_due_ns = NowNanos() + options_.hello_timeout_ns;
  link->Attach(std::move(child->pidfd), epoll_.get(), Tag(link->id, kSocketTag));
  if (link->kill_at_ns() == 0) KillProcess(link->pidfd());
  if (!Watch(epoll_.get(), link->pidfd(), Tag(link->id, kProcessTag))) {
    // Its end could not be noticed: it must not run.
    KillProcess(link->pidfd());
    ReapProcess(link->pidfd());
    Lose(link, LostCause::kStartFailed, "its process cannot be watched");
  }
}

std::string Supervisor::Objection(const WorkerLink& link, const v1::FromWorker& message) {
  if (message.message_case() == v1::FromWorker::MESSAGE_NOT_SET) {
    return "an empty message, or one that this version lacks";
  }
  if (message.has_hello() == link.said_hello) {
    return link.said_hello ? "a second Hello" : "a message before Hello";
  }
  if (message.has_hello() && message.hello().protocol_version() != kWorkerProtocolVersion) {
    return absl::StrCat("protocol version ", message.hello().protocol_version(), "; this is ",
                        kWorkerProtocolVersion);
  }
  return "";
}

void Supervisor::ReadMessages(const LinkPtr& link, int max) {
  for (int i = 0; i < max; ++i) {
    v1::FromWorker message;
    std::vector<Payload> attachments;
    const auto state = link->Read(message, attachments);
    if (state.ok() && *state == FrameConnection::ReadState::kWouldBlock) return;
    // It ends, or died in the middle of a frame; either way its process is about to be gone.
    if (absl::IsDataLoss(state.status()) ||
        (state.ok() && *state == FrameConnection::ReadState::kEnd)) {
      link->exit_due_ns = NowNanos() + kExitTimeoutNanos;
      link->StopReading();
      return;
    }
    const std::string objection =
        state.ok() ? Objection(*link, message) : std::string(state.status().message());
    if (!objection.empty()) {
      link->Condemn({LostCause::kProtocol, objection});
      link->StopReading();
      return;
    }
    if (message.has_hello()) {
      link->said_hello = true;
      link->hello_due_ns = 0;
    }
    if (message.has_fatal()) link->exit_due_ns = NowNanos() + kExitTimeoutNanos;
    sink_.OnWorkerMessage(link->id, std::move(message), std::move(attachments));
  }
}

void Supervisor::EnforceDeadlines() {
  const int64_t now_ns = NowNanos();
  for (const LinkPtr& link : Links()) {
    if (link->pidfd() < 0) continue;
    if (link->hello_due_ns > 0 && now_ns >= link->hello_due_ns) {
      link->hello_due_ns = 0;
      link->Condemn({LostCause::kStartFailed, "no Hello in time"});
    }
    if (link->exit_due_ns && now_ns >= *link->exit_due_ns) {
      link->exit_due_ns.reset();
      link->Condemn({LostCause::kProtocol, "said that it ends and did not"});
    }
    if (const auto kill_ns = link->kill_at_ns(); kill_ns && *kill_ns > 0 && now_ns >= *kill_ns) {
      link->Condemn({LostCause::kStopped, ""});
    }
  }
}

void Supervisor::OnProcessEnd(const LinkPtr& link) {
  // What it said before it died is still in the socket.
  if (link->reading()) ReadMessages(link, kMessagesAfterDeathMax);
  const ProcessEnd end = ReapProcess(link->pidfd());
  const std::optional<Verdict> verdict = link->Finish();
  if (verdict) {
    Lose(link, verdict->cause, absl::StrCat(verdict->detail, ", ", end.description));
  } else if (!link->said_hello) {
    Lose(link, LostCause::kStartFailed, absl::StrCat(end.description, " before Hello"));
  } else {
    Lose(link, end.signalled ? LostCause::kKilled : LostCause::kExited, end.description);
  }
}

void Supervisor::Lose(const LinkPtr& link, LostCause cause, std::string detail) {
  link->Finish();
  if (link->reading()) link->StopReading();
  if (link->pidfd() >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, link->pidfd(), nullptr);
  {
    MutexLock lock(mutex_);
    links_.erase(link->id);
  }
  sink_.OnWorkerLost(link->id, cause, std::move(detail));
}

void Supervisor::CloseDown() {
  constexpr char kReason[] = "its pool closes";
  const int64_t give_up_ns = NowNanos() + kReapTimeoutNanos;
  // The sink may even start more while it hears of the losses: they are lost before they begin.
  for (std::vector<LinkPtr> links = Links(); !links.empty(); links = Links()) {
    const bool give_up = NowNanos() >= give_up_ns;
    for (const LinkPtr& link : links) link->Condemn({LostCause::kStopped, kReason});
    StartPending();
    if (give_up) {
      for (const LinkPtr& link : Links()) Lose(link, LostCause::kStopped, "did not die in time");
      return;
    }
    epoll_event events[kEventsPerWaitMax];
    constexpr int kWaitMs = 10;
    const int count = ::epoll_wait(epoll_.get(), events, kEventsPerWaitMax, kWaitMs);
    for (int i = 0; i < count; ++i) HandleEvent(events[i].data.u64, events[i].events);
  }
}

}  // namespace darkroom
