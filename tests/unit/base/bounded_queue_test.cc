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

// Wake-ups for items that are gone by then end no wait.
TEST(BoundedQueueTest, NoWaitEndsWithoutAnItem) {
  constexpr int kItems = 20'000;
  BoundedQueue<int> queue(kItems);
  std::thread producer([&] {
    for (int i = 0; i < kItems; ++i) {
      queue.Push(int{i});
      if (i % 4 == 0) std::this_thread::yield();
    }
  });
  std::vector<int> out;
  int empty = 0;
  while (out.size() < kItems) {
    const size_t before = out.size();
    queue.PopAll(out, kItems, kMinuteNanos);
    if (out.size() == before) ++empty;
  }
  producer.join();
  EXPECT_EQ(empty, 0);
}

}  // namespace
}  // namespace darkroom
