#include "base/bounded_queue.h"

#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

constexpr int64_t kMinuteNanos = 60'000'000'000;

TEST(BoundedQueueTest, RefusesWhatIsMoreThanItHolds) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_TRUE(queue.Push(4)) << "events that must not be lost";
  std::vector<int> out;
  EXPECT_TRUE(queue.PopAll(out, 2, 0));
  EXPECT_EQ(out, (std::vector<int>{1, 2}));
  EXPECT_EQ(queue.size(), 1);
}

TEST(BoundedQueueTest, ClosedIsToldOnceItIsEmpty) {
  BoundedQueue<int> queue(2);
  queue.Push(1);
  queue.Close();
  EXPECT_FALSE(queue.Push(2));
  EXPECT_FALSE(queue.TryPush(2));
  std::vector<int> out;
  EXPECT_TRUE(queue.PopAll(out, 8, -1));
  EXPECT_FALSE(queue.PopAll(out, 8, -1));
  EXPECT_EQ(out, (std::vector<int>{1}));
}

TEST(BoundedQueueTest, WaitsNoLongerThanTold) {
  BoundedQueue<int> queue(2);
  std::vector<int> out;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(queue.PopAll(out, 8, 20'000'000));
  EXPECT_TRUE(out.empty());
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(20));
}

// A producer wakes the consumer after its item is in the queue: among several, the consumer may
// have taken that one already and wait for the next. Such a wake-up must not end the wait.
TEST(BoundedQueueTest, NoWaitEndsWithoutAnItem) {
  constexpr int kProducers = 8;
  constexpr int kItemsEach = 5'000;
  constexpr size_t kItems = size_t{kProducers} * kItemsEach;
  BoundedQueue<int> queue(kItems);
  std::vector<std::thread> producers;
  for (int i = 0; i < kProducers; ++i) {
    producers.emplace_back([&] {
      for (int item = 0; item < kItemsEach; ++item) {
        queue.Push(int{item});
        std::this_thread::sleep_for(std::chrono::microseconds(1));
      }
    });
  }
  std::vector<int> out;
  int empty = 0;
  while (out.size() < kItems) {
    const size_t before = out.size();
    queue.PopAll(out, 1, kMinuteNanos);
    if (out.size() == before) ++empty;
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(empty, 0);
}

}  // namespace
}  // namespace darkroom
