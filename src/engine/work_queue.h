#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "base/bounded_queue.h"

namespace darkroom::engine {

// Threads that run closures in order of arrival. Destruction runs what is queued, then joins.
class WorkQueue {
 public:
  WorkQueue(int threads, size_t capacity) : queue_(capacity) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  ~WorkQueue() { Stop(); }
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // False when full.
  bool TryPost(absl::AnyInvocable<void()> work) { return queue_.TryPush(std::move(work)); }
  // For work whose amount is bounded by whoever orders it.
  void Post(absl::AnyInvocable<void()> work) { queue_.Push(std::move(work)); }

  void Stop() {
    queue_.Close();
    for (auto& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  void Run() {
    std::vector<absl::AnyInvocable<void()>> batch;
    while (queue_.PopAll(batch, 1, -1)) {
      for (auto& work : batch) work();
      batch.clear();
    }
  }

  BoundedQueue<absl::AnyInvocable<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace darkroom::engine
