#include <cstring>

#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "model/noise.h"

namespace darkroom::golden {
namespace {

TEST(NoiseGoldenTest, EqualsPyTorchBitForBit) {
  const Fixture fixture("noise/noise.json");
  int compared = 0;
  for (const Json& draw : fixture.json().at("draws")) {
    if (draw.at("dtype") != "f32") continue;
    const std::string name = draw.at("name").get<std::string>();
    const std::vector<float> expected = fixture.Floats(name + ".first");
    std::vector<float> noise(expected.size());
    FillNoise(draw.at("seed").get<uint64_t>(), absl::MakeSpan(noise));
    EXPECT_EQ(std::memcmp(noise.data(), expected.data(), noise.size() * sizeof(float)), 0)
        << name << ": largest difference " << MaxDifference(noise, expected);
    ++compared;
  }
  EXPECT_GE(compared, 48);
}

}  // namespace
}  // namespace darkroom::golden
