#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "base/mutex.h"

namespace darkroom::cpu {

// A fixed set of threads that share out numbered tasks. Which thread runs a task is left to chance,
// so a task's result must depend on its number alone: then no result depends on the thread count.
// Tasks run with the default floating-point environment, whatever the caller's.
//
// Thread: ParallelFor is called by one thread at a time, which takes part in the work.
class ThreadPool {
 public:
  // `threads` counts the caller: 1 starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, thread) once for every task in [0, tasks), thread in [0, threads()), and
  // returns when all are done. `body` must not throw.
  void ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t task, int thread)> body);

 private:
  void Work(int thread);
  void RunTasks(int thread);

  // Read together by a thread that wakes, so they share a cache line. The work at hand is written
  // before `generation_` is raised and read after.
  alignas(64) std::atomic<uint32_t> generation_{0};
  std::atomic<bool> stop_{false};
  const absl::FunctionRef<void(int64_t, int)>* body_ = nullptr;
  int64_t tasks_ = 0;
  std::vector<std::thread> workers_;
  Mutex mutex_;
  CondVar wake_;
  CondVar done_;
  // Written by all while they work: a line each.
  alignas(64) std::atomic<int> working_{0};
  alignas(64) std::atomic<int64_t> next_{0};
};

}  // namespace darkroom::cpu
