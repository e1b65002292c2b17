#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace darkroom {

// Calls a function every so often, on a thread of its own, until it is destroyed.
class Poller {
 public:
  Poller(absl::Duration interval, std::function<void()> work)
      : interval_(absl::ToChronoNanoseconds(interval)), work_(std::move(work)) {
    thread_ = std::thread([this] { Loop(); });
  }
  ~Poller() {
    {
      MutexLock lock(mutex_);
      ended_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

 private:
  void Loop() {
    while (true) {
      const auto next = std::chrono::steady_clock::now() + interval_;
      {
        MutexLock lock(mutex_);
        while (!ended_ && changed_.WaitUntil(mutex_, next)) {
        }
        if (ended_) return;
      }
      work_();
    }
  }

  const std::chrono::nanoseconds interval_;
  const std::function<void()> work_;
  Mutex mutex_;
  CondVar changed_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace darkroom
