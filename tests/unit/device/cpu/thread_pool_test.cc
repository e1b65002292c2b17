#include "device/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace darkroom::cpu {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(tasks);
      std::atomic<bool> thread_in_range{true};
      pool.ParallelFor(tasks, [&](int64_t task, int thread) {
        runs[task].fetch_add(1);
        if (thread < 0 || thread >= threads) thread_in_range = false;
      });
      for (int task = 0; task < tasks; ++task) ASSERT_EQ(runs[task].load(), 1) << task;
      EXPECT_TRUE(thread_in_range);
    }
  }
}

TEST(ThreadPoolTest, ReturnsOnlyWhenAllIsDone) {
  ThreadPool pool(3);
  for (int round = 0; round < 2000; ++round) {
    // Not atomic: the pool must order these writes before its return.
    int64_t values[5] = {};
    pool.ParallelFor(5, [&](int64_t task, int) { values[task] = round + task; });
    for (int64_t task = 0; task < 5; ++task) ASSERT_EQ(values[task], round + task);
  }
}

TEST(ThreadPoolTest, WakesThreadsThatSleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    // Long enough for the spinning to end.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    // Two tasks that wait for each other finish only when two threads run.
    std::atomic<int> arrived{0};
    pool.ParallelFor(2, [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
  }
}

}  // namespace
}  // namespace darkroom::cpu
