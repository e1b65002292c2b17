#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "darkroom/worker_pool.h"
#include "supervisor/limits.h"
#include "supervisor/worker_link.h"

namespace darkroom {

// WorkerPool on this machine: child processes over anonymous AF_UNIX socket pairs, which only the
// two of us can reach. One thread starts the processes, reads what they say and, by their pidfds,
// notices their end.
//
// How a loss is told, the first that applies: kStopped after Stop, kKilled after Kill, kProtocol
// for a broken or late message, another version or a queue that it does not empty, kStartFailed
// when there was no Hello (in time), kKilled for any other signal, kExited for an end of its own
// accord.
class Supervisor final : public WorkerPool {
 public:
  struct Options {
    int64_t hello_timeout_ns = kHelloTimeoutNanos;
  };
  // `sink` must outlive the pool.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(WorkerSink& sink,
                                                            const Options& options);
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(WorkerSink& sink) {
    return Create(sink, Options{});
  }
  // Kills every worker, tells the sink that each is lost, and returns once it was told. Not to be
  // called from the sink.
  ~Supervisor() override;
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  void Start(WorkerId worker, const WorkerSpec& spec) override;
  bool Send(WorkerId worker, v1::ToWorker message, std::vector<Payload> attachments) override;
  void Stop(WorkerId worker, int64_t grace_ms) override;
  void Kill(WorkerId worker) override;

 private:
  using LinkPtr = std::shared_ptr<WorkerLink>;

  Supervisor(WorkerSink& sink, const Options& options, UniqueFd epoll, UniqueFd wake);

  LinkPtr Find(WorkerId worker);
  std::vector<LinkPtr> Links();
  void Wake();

  // The pool's thread.
  void Run();
  int TimeoutMs();
  void HandleEvent(uint64_t tag, uint32_t events);
  void StartPending();
  void Spawn(const LinkPtr& link);
  // Takes messages until there is none, `max` were taken, or the worker broke the protocol.
  void ReadMessages(const LinkPtr& link, int max);
  // Why the message breaks the protocol; empty when it does not.
  static std::string Objection(const WorkerLink& link, const v1::FromWorker& message);
  void EnforceDeadlines();
  void OnProcessEnd(const LinkPtr& link);
  void Lose(const LinkPtr& link, LostCause cause, std::string detail);
  void CloseDown();

  WorkerSink& sink_;
  const Options options_;
  const UniqueFd epoll_;
  const UniqueFd wake_;
  std::atomic<bool> closing_{false};

  Mutex mutex_;
  absl::flat_hash_map<WorkerId, LinkPtr> links_ ABSL_GUARDED_BY(mutex_);
  std::vector<LinkPtr> pending_ ABSL_GUARDED_BY(mutex_);  // to be started

  std::thread thread_;
};

}  // namespace darkroom
