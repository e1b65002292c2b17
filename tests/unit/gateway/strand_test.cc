#include "gateway/strand.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(StrandTest, StepPostedFromAStepRunsAfterIt) {
  Strand strand;
  std::vector<int> order;
  strand.Post([&] {
    strand.Post([&] { order.push_back(2); });
    order.push_back(1);
  });
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

// An unguarded counter: ThreadSanitizer sees it if two steps ever overlap.
TEST(StrandTest, StepsOfManyThreadsNeverOverlap) {
  constexpr int kThreads = 4;
  constexpr int kSteps = 5000;
  Strand strand;
  int64_t counter = 0;
  int inside = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kSteps; ++i) {
        strand.Post([&] {
          EXPECT_EQ(++inside, 1);
          ++counter;
          --inside;
        });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  // Every Post has returned, and the last runner left nothing behind.
  EXPECT_EQ(counter, kThreads * kSteps);
}

}  // namespace
}  // namespace darkroom
