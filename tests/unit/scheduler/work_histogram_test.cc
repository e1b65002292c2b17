#include "scheduler/work_histogram.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

TEST(WorkHistogramTest, SumsWhatIsAtMostAsLong) {
  WorkHistogram work;
  for (const int64_t nanos : {0, 7, 1000, 1000, 2000, 1'000'000'000}) work.Add(nanos);
  EXPECT_EQ(work.UpTo(0), 0);
  EXPECT_EQ(work.UpTo(7), 7);
  EXPECT_EQ(work.UpTo(500), 7);
  EXPECT_EQ(work.UpTo(1000), 2007);
  EXPECT_EQ(work.UpTo(1900), 2007);
  EXPECT_EQ(work.UpTo(2000), 4007);
  EXPECT_EQ(work.Total(), 1'000'004'007);
  work.Remove(1000);
  EXPECT_EQ(work.UpTo(2000), 3007);
}

TEST(WorkHistogramTest, ABucketIsAnEighthOfAPowerOfTwoWide) {
  WorkHistogram work;
  work.Add(1024);
  EXPECT_EQ(work.UpTo(1023), 0);
  work.Add(1024 + 127);
  EXPECT_EQ(work.UpTo(1024), 2175) << "one bucket";
  work.Add(1024 + 128);
  EXPECT_EQ(work.UpTo(1024), 2175) << "the next";
  work.Add(INT64_MAX / 4);
  EXPECT_EQ(work.UpTo(INT64_MAX / 8), 2175 + 1152);
}

}  // namespace
}  // namespace darkroom::scheduler
