#include "device/cpu/thread_pool.h"

#include <pmmintrin.h>

#include "device/limits.h"

namespace darkroom::cpu {
namespace {

// Round to nearest, denormals kept, no traps: whatever the calling thread has set, every task
// computes alike. A library built with -ffast-math is enough to change it for a whole process.
class DefaultFloatingPoint {
 public:
  DefaultFloatingPoint() : before_(_mm_getcsr()) { _mm_setcsr(kDefault); }
  ~DefaultFloatingPoint() { _mm_setcsr(before_); }
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;

 private:
  static constexpr unsigned kDefault = 0x1f80;
  const unsigned before_;
};

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(threads - 1);
  for (int thread = 1; thread < threads; ++thread) {
    workers_.emplace_back([this, thread] { Work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  {
    MutexLock lock(mutex_);
    generation_.fetch_add(1);
  }
  wake_.NotifyAll();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunTasks(int thread) {
  const DefaultFloatingPoint floating_point;
  for (int64_t task = next_.fetch_add(1, std::memory_order_relaxed); task < tasks_;
       task = next_.fetch_add(1, std::memory_order_relaxed)) {
    (*body_)(task, thread);
  }
}

void ThreadPool::ParallelFor(int64_t tasks,
                             absl::FunctionRef<void(int64_t task, int thread)> body) {
  if (workers_.empty() || tasks <= 1) {
    const DefaultFloatingPoint floating_point;
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  body_ = &body;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  working_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  {
    // Under the lock, so that a worker between its last look and its sleep is not missed.
    MutexLock lock(mutex_);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.NotifyAll();
  RunTasks(0);
  // The others finish within one task of this one: worth a short spin before sleeping.
  for (int i = 0; i < kCpuSpinPauses; ++i) {
    if (working_.load(std::memory_order_acquire) == 0) return;
    _mm_pause();
  }
  MutexLock lock(mutex_);
  while (working_.load(std::memory_order_acquire) != 0) done_.Wait(mutex_);
}

void ThreadPool::Work(int thread) {
  uint32_t seen = 0;
  while (true) {
    // Ops follow each other closely within a step, so look a while before sleeping.
    for (int i = 0; i < kCpuSpinPauses && generation_.load(std::memory_order_acquire) == seen;
         ++i) {
      _mm_pause();
    }
    if (generation_.load(std::memory_order_acquire) == seen) {
      MutexLock lock(mutex_);
      while (generation_.load(std::memory_order_acquire) == seen) wake_.Wait(mutex_);
    }
    // Every worker answers every generation before the next is made: none is skipped.
    ++seen;
    if (stop_.load()) return;
    RunTasks(thread);
    if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      MutexLock lock(mutex_);
      done_.NotifyOne();
    }
  }
}

}  // namespace darkroom::cpu
