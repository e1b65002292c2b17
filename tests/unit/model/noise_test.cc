#include "model/noise.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

// Bits are compared with PyTorch's in tests/golden.

std::vector<float> Noise(uint64_t seed, size_t count) {
  std::vector<float> out(count);
  FillNoise(seed, absl::MakeSpan(out));
  return out;
}

TEST(NoiseTest, IsStandardNormal) {
  const std::vector<float> noise = Noise(3, 1 << 18);
  double sum = 0;
  double squares = 0;
  double fourths = 0;
  for (const float value : noise) {
    ASSERT_TRUE(std::isfinite(value));
    const double square = static_cast<double>(value) * value;
    sum += value;
    squares += square;
    fourths += square * square;
  }
  const auto count = static_cast<double>(noise.size());
  EXPECT_NEAR(sum / count, 0, 0.01);
  EXPECT_NEAR(squares / count, 1, 0.01);
  EXPECT_NEAR(fourths / count, 3, 0.08);
}

TEST(NoiseTest, DependsOnTheSeedAlone) {
  EXPECT_EQ(Noise(1, 64), Noise(1, 64));
  EXPECT_NE(Noise(1, 64), Noise(2, 64));
  // As PyTorch's generator, which keeps 32 bits.
  EXPECT_EQ(Noise(5, 64), Noise((uint64_t{1} << 32) + 5, 64));
}

TEST(NoiseTest, AnyCount) {
  for (size_t count = 0; count < 40; ++count) {
    for (const float value : Noise(9, count)) EXPECT_TRUE(std::isfinite(value)) << count;
  }
  // Whole groups of 16 do not depend on how many follow.
  const std::vector<float> many = Noise(4, 64);
  EXPECT_EQ(Noise(4, 32), std::vector<float>(many.begin(), many.begin() + 32));
}

}  // namespace
}  // namespace darkroom
