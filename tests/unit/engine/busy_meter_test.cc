#include "engine/busy_meter.h"

#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(BusyMeterTest, IsTheShareOfTimeInsideQuanta) {
  BusyMeter meter;
  EXPECT_EQ(meter.Ratio(5 * kSecond), 0);
  for (int64_t t = 100 * kSecond; t < 110 * kSecond; t += kSecond / 10) {
    meter.Add(t, t + kSecond / 20);
  }
  EXPECT_NEAR(meter.Ratio(110 * kSecond), 0.5, 0.01);
}

TEST(BusyMeterTest, ForgetsWhatIsLongAgo) {
  BusyMeter meter;
  meter.Add(100 * kSecond, 110 * kSecond);
  EXPECT_NEAR(meter.Ratio(110 * kSecond), 1.0, 0.11);
  EXPECT_NEAR(meter.Ratio(115 * kSecond), 0.45, 0.1);
  EXPECT_EQ(meter.Ratio(130 * kSecond), 0);
}

TEST(BusyMeterTest, AQuantumLongerThanTheWindowFillsIt) {
  BusyMeter meter;
  meter.Add(100 * kSecond, 200 * kSecond);
  EXPECT_LE(meter.Ratio(200 * kSecond), 1.0);
  EXPECT_GT(meter.Ratio(200 * kSecond), 0.9);
}

}  // namespace
}  // namespace darkroom::engine
