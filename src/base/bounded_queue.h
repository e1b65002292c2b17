#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace darkroom {

// Many producers, one consumer. Producers never block: a full queue refuses.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // False when full or closed; `item` is then untouched.
  bool TryPush(T&& item) {
    {
      MutexLock lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(item));
    }
    ready_.NotifyOne();
    return true;
  }

  // For events that must not be lost and whose number is bounded elsewhere (one report per plan in
  // flight, one death per worker): ignores the capacity. False when closed.
  bool Push(T&& item) {
    {
      MutexLock lock(mutex_);
      if (closed_) return false;
      items_.push_back(std::move(item));
    }
    ready_.NotifyOne();
    return true;
  }

  // Returns once there is an item or the queue is closed, at the latest after `timeout_ns`
  // (negative: never).
  void WaitForItem(int64_t timeout_ns) {
    MutexLock lock(mutex_);
    AwaitItem(timeout_ns);
  }

  // Moves up to `max` items to the end of `out`, waiting up to `timeout_ns` for the first
  // (0: not at all, negative: for ever). False when closed and empty.
  bool PopAll(std::vector<T>& out, size_t max, int64_t timeout_ns) {
    MutexLock lock(mutex_);
    AwaitItem(timeout_ns);
    if (items_.empty()) return !closed_;
    for (size_t i = 0; i < max && !items_.empty(); ++i) {
      out.push_back(std::move(items_.front()));
      items_.pop_front();
    }
    return true;
  }

  // Wakes the consumer; what is queued can still be popped.
  void Close() {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    ready_.NotifyAll();
  }

  size_t size() {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  void AwaitItem(int64_t timeout_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (timeout_ns < 0) {
      while (items_.empty() && !closed_) ready_.Wait(mutex_);
    } else if (timeout_ns > 0) {
      // A wake-up may be for an item that is already gone: it ends no wait.
      const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns);
      while (items_.empty() && !closed_ && ready_.WaitUntil(mutex_, end)) {
      }
    }
  }

  const size_t capacity_;
  Mutex mutex_;
  CondVar ready_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace darkroom
