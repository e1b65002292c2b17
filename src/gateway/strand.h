#pragma once

#include <deque>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "base/mutex.h"

namespace darkroom {

// Runs steps one at a time, in the order they were posted, on whichever thread posts while none
// runs: state that only steps touch needs no lock, and a step that causes another (also on its own
// thread) never nests. The owner must keep the strand alive during every Post.
//
// The queue is bounded by what the owner can cause: it has few operations, each with one
// completion.
class Strand {
 public:
  using Step = absl::AnyInvocable<void() &&>;

  void Post(Step step) {
    {
      MutexLock lock(mutex_);
      steps_.push_back(std::move(step));
      if (running_) return;
      running_ = true;
    }
    while (RunNext()) {
    }
  }

 private:
  // False when there was none; then the next Post runs its own.
  bool RunNext() {
    Step step;
    {
      MutexLock lock(mutex_);
      if (steps_.empty()) {
        running_ = false;
        return false;
      }
      step = std::move(steps_.front());
      steps_.pop_front();
    }
    std::move(step)();
    return true;
  }

  Mutex mutex_;
  std::deque<Step> steps_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace darkroom
