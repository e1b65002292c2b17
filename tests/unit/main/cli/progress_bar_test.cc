#include "main/cli/progress_bar.h"

#include "gtest/gtest.h"

namespace darkroom::cli {
namespace {

TEST(ProgressLineTest, BarRateAndEta) {
  EXPECT_EQ(ProgressLine(0, 10, 0, absl::ZeroDuration()), "[------------------------] 0/10");
  EXPECT_EQ(ProgressLine(5, 10, 2.5, absl::Milliseconds(1900)),
            "[############------------] 5/10  2.5 it/s  eta 2s");
  EXPECT_EQ(ProgressLine(10, 10, 2, absl::ZeroDuration()),
            "[########################] 10/10  2.0 it/s");
  EXPECT_EQ(ProgressLine(1, 100, 1, absl::Seconds(99)),
            "[------------------------] 1/100  1.0 it/s  eta 1m39s");
  EXPECT_EQ(ProgressLine(1, 100, 1, absl::Minutes(125)),
            "[------------------------] 1/100  1.0 it/s  eta 2h05m");
}

TEST(ProgressLineTest, NumbersThatMakeNoSense) {
  EXPECT_EQ(ProgressLine(-5, 0, 0, absl::ZeroDuration()), "[------------------------] 0/1");
  EXPECT_EQ(ProgressLine(50, 10, 0, absl::Seconds(-3)), "[########################] 10/10");
}

}  // namespace
}  // namespace darkroom::cli
