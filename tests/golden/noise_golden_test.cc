#include <cstring>

#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "model/noise.h"
#include "model/weights.h"

namespace darkroom::golden {
namespace {

// Two draws after each other, as a pipeline that encodes a picture takes them.
void CompareDraws(const std::string& dtype, int expected_draws) {
  const Fixture fixture("noise/noise.json");
  int compared = 0;
  for (const Json& draw : fixture.json().at("draws")) {
    if (draw.at("dtype") != dtype) continue;
    const std::string name = draw.at("name").get<std::string>();
    NoiseGenerator generator(draw.at("seed").get<uint64_t>());
    for (const std::string which : {".first", ".second"}) {
      const std::vector<float> expected = ToFloat(fixture.Get(name + which));
      // PyTorch's bfloat16 draws of fewer than 16 numbers are not supported, nor needed.
      if (dtype == "bf16" && expected.size() < 16) continue;
      std::vector<float> noise(expected.size());
      generator.Fill(dtype == "bf16" ? DType::kBf16 : DType::kF32, absl::MakeSpan(noise));
      // PyTorch keeps the second of a pair for the next draw where it draws pairs.
      if (which == ".second" && expected.size() < 16) continue;
      EXPECT_EQ(std::memcmp(noise.data(), expected.data(), noise.size() * sizeof(float)), 0)
          << name << which << ": largest difference " << MaxDifference(noise, expected);
      ++compared;
    }
  }
  EXPECT_GE(compared, expected_draws);
}

TEST(NoiseGoldenTest, EqualsPyTorchBitForBit) { CompareDraws("f32", 84); }

TEST(NoiseGoldenTest, EqualsPyTorchBitForBitInBf16) { CompareDraws("bf16", 72); }

}  // namespace
}  // namespace darkroom::golden
