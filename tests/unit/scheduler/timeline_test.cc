#include "scheduler/timeline.h"

#include <random>

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

TEST(TimelineTest, RoomIsTheLeastSlack) {
  Timeline timeline;
  EXPECT_EQ(timeline.Room(5), std::numeric_limits<int64_t>::max());
  timeline.Add({1, 100, 30});
  timeline.Add({2, 60, 20});
  EXPECT_EQ(timeline.First().job, 2u);
  EXPECT_EQ(timeline.Room(0), 40);  // before 60: 20; before 100: 50
  EXPECT_EQ(timeline.Room(45), -5);
  timeline.SetLeft(2, 0);
  EXPECT_EQ(timeline.Room(45), 15);
  timeline.Remove(2);
  EXPECT_EQ(timeline.Room(0), 70);
}

TEST(TimelineTest, FitsOnlyIfNobodyBecomesLate) {
  Timeline timeline;
  timeline.Add({1, 100, 50});
  EXPECT_TRUE(timeline.Fits({2, 100, 50}, 0, 1.0));
  EXPECT_FALSE(timeline.Fits({2, 100, 51}, 0, 1.0));
  EXPECT_FALSE(timeline.Fits({2, 20, 51}, 0, 1.0));  // its own deadline
  EXPECT_FALSE(timeline.Fits({2, 60, 51}, 0, 1.0));  // the one behind it
  EXPECT_TRUE(timeline.Fits({2, 60, 40}, 0, 0.9));
  EXPECT_FALSE(timeline.Fits({2, 60, 41}, 0, 0.9));  // 91 of 90
}

TEST(TimelineTest, OffersTheEarliestDeadlineThatFits) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    Timeline timeline;
    const double capacity = 0.8 + 0.05 * static_cast<double>(random() % 5);
    for (JobId job = 1; job <= random() % 6; ++job) {
      const Timeline::Entry entry{job, static_cast<int64_t>(random() % 400),
                                  1 + static_cast<int64_t>(random() % 50)};
      if (timeline.Fits(entry, 10, capacity)) timeline.Add(entry);
    }
    const int64_t left = 1 + static_cast<int64_t>(random() % 60);
    const int64_t offered = timeline.EarliestDeadline(left, 10, capacity);
    ASSERT_TRUE(timeline.Fits({99, offered, left}, 10, capacity)) << "round " << round;
    for (int64_t earlier = 0; earlier < offered; ++earlier) {
      ASSERT_FALSE(timeline.Fits({0, earlier, left}, 10, capacity))
          << "round " << round << ": " << earlier << " is before " << offered;
    }
  }
}

}  // namespace
}  // namespace darkroom::scheduler
