#include "tenancy/poller.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(PollerTest, CallsUntilItIsDestroyed) {
  std::atomic<int> calls{0};
  {
    std::promise<void> third;
    Poller poller(absl::Milliseconds(1), [&] {
      if (++calls == 3) third.set_value();
    });
    third.get_future().wait();
  }
  const int at_end = calls;
  EXPECT_GE(at_end, 3);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(calls, at_end);
}

TEST(PollerTest, DoesNotWaitOutItsIntervalWhenDestroyed) {
  const auto start = std::chrono::steady_clock::now();
  {
    Poller poller(absl::Hours(1), [] { FAIL() << "an hour early"; });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(1));
}

}  // namespace
}  // namespace darkroom
