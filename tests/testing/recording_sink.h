#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "darkroom/worker_pool.h"

namespace darkroom::testing {

// Keeps what workers say, for a test's thread to wait on. Thread-safe.
class RecordingSink final : public WorkerSink {
 public:
  struct Said {
    WorkerId worker;
    v1::FromWorker message;
    std::vector<Payload> attachments;
  };
  struct Lost {
    WorkerId worker;
    LostCause cause;
    std::string detail;
    int64_t at_ns;         // monotonic
    size_t messages_seen;  // of all workers, before it
  };

  void OnWorkerMessage(WorkerId worker, v1::FromWorker message,
                       std::vector<Payload> attachments) override {
    MutexLock lock(mutex_);
    said_.push_back({worker, std::move(message), std::move(attachments)});
    changed_.NotifyAll();
  }

  void OnWorkerLost(WorkerId worker, LostCause cause, std::string detail) override {
    MutexLock lock(mutex_);
    lost_.push_back(
        {worker, cause, std::move(detail), Clock::Real().MonotonicNanos(), said_.size()});
    changed_.NotifyAll();
  }

  // Waits up to 20 s for a message that `wanted` accepts and takes it, with everything before it,
  // off the record. An empty one when none came.
  Said Next(const std::function<bool(const Said&)>& wanted) {
    MutexLock lock(mutex_);
    size_t looked = 0;
    const bool found = WaitLocked([&] {
      for (; looked < said_.size(); ++looked) {
        if (wanted(said_[looked])) return true;
      }
      return false;
    });
    if (!found) return {};
    Said said = std::move(said_[looked]);
    said_.erase(said_.begin(), said_.begin() + static_cast<ptrdiff_t>(looked) + 1);
    return said;
  }
  Said Next(WorkerId worker, v1::FromWorker::MessageCase kind) {
    return Next([=](const Said& said) {
      return said.worker == worker && said.message.message_case() == kind;
    });
  }

  // Waits up to 20 s for the loss of `worker`. A detail of "NOT LOST" when it did not come.
  Lost WaitLost(WorkerId worker) {
    MutexLock lock(mutex_);
    Lost result{worker, LostCause::kExited, "NOT LOST", 0, 0};
    WaitLocked([&] {
      for (const Lost& lost : lost_) {
        if (lost.worker == worker) {
          result = lost;
          return true;
        }
      }
      return false;
    });
    return result;
  }

  std::vector<Lost> lost() {
    MutexLock lock(mutex_);
    return lost_;
  }

 private:
  template <typename Condition>
  bool WaitLocked(Condition&& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    constexpr std::chrono::seconds kPatience(20);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (!changed_.WaitUntil(mutex_, end)) return condition();
    }
    return true;
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<Said> said_ ABSL_GUARDED_BY(mutex_);
  std::vector<Lost> lost_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace darkroom::testing
