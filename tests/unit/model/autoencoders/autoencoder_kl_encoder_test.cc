#include "model/autoencoders/autoencoder_kl_encoder.h"

#include <cmath>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "model/load_parts.h"
#include "testing/reference_ops.h"

namespace darkroom {
namespace {

// Numbers are compared with diffusers' in tests/golden.
class AutoencoderKlEncoderTest : public ::testing::Test {
 protected:
  static constexpr int kHeight = 6;
  static constexpr int kWidth = 4;

  struct Loaded {
    Loaded(const std::string& fixture, bool poison) : ops(poison), stream(ops.CreateStream()) {
      absl::StatusOr<ModelFolder> folder =
          ModelFolder::Open(DARKROOM_SOURCE_DIR "/tests/golden/fixtures/" + fixture + "/model");
      EXPECT_TRUE(folder.ok()) << folder.status();
      const auto read = ReadConfig(*folder, "vae/config.json", &ReadAutoencoderKlConfig);
      EXPECT_TRUE(read.ok()) << read.status();
      config = *read;
      absl::StatusOr<Weights> weights = Weights::Open(*folder, "vae");
      encoder = std::make_unique<AutoencoderKlEncoder>(config, *weights);
      weights->Ignore({"decoder.", "post_quant_conv."});
      EXPECT_TRUE(weights->Check().ok()) << weights->Check();
      EXPECT_TRUE(encoder->Load(ops, *stream).ok());
      pixels.resize(static_cast<size_t>(kHeight * kWidth * config.factor() * config.factor() * 3));
      for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 37 % 251);
    }

    std::vector<float> Encode(float noise, int height = kHeight, int width = kWidth) {
      const auto count = static_cast<size_t>(config.latent_channels * height * width);
      std::vector<float> latents(count);
      EXPECT_TRUE(encoder
                      ->Encode(pixels.data(), height, width, std::vector<float>(count, noise),
                               absl::MakeSpan(latents), *stream)
                      .ok());
      return latents;
    }

    testing::ReferenceOps ops;
    std::unique_ptr<Stream> stream;
    AutoencoderKlConfig config;
    std::unique_ptr<AutoencoderKlEncoder> encoder;
    std::vector<uint8_t> pixels;
  };
};

// With and without attention in the middle and quant_conv.
TEST_F(AutoencoderKlEncoderTest, ReadsNothingThatNobodyWrote) {
  for (const char* fixture : {"flux_dev", "flux_schnell", "flux_sharded"}) {
    Loaded zeros(fixture, /*poison=*/false);
    Loaded poisoned(fixture, /*poison=*/true);
    const std::vector<float> latents = zeros.Encode(0.5f);
    EXPECT_EQ(poisoned.Encode(0.5f), latents) << fixture;
    for (const float value : latents) EXPECT_TRUE(std::isfinite(value));
  }
}

// The result is mean + deviation * noise: linear in the noise, with a positive slope.
TEST_F(AutoencoderKlEncoderTest, TakesAPointOfADistribution) {
  Loaded loaded("flux_dev", /*poison=*/false);
  const std::vector<float> mean = loaded.Encode(0);
  const std::vector<float> above = loaded.Encode(1);
  const std::vector<float> below = loaded.Encode(-1);
  for (size_t i = 0; i < mean.size(); ++i) {
    EXPECT_GT(above[i], mean[i]);
    EXPECT_NEAR(above[i] - mean[i], mean[i] - below[i], 1e-5);
  }
}

TEST_F(AutoencoderKlEncoderTest, EveryPixelReachesALatent) {
  Loaded loaded("flux_schnell", /*poison=*/false);
  const std::vector<float> before = loaded.Encode(0);
  for (const size_t pixel : {size_t{0}, loaded.pixels.size() / 2, loaded.pixels.size() - 1}) {
    loaded.pixels[pixel] ^= 0x80;
    EXPECT_NE(loaded.Encode(0), before) << pixel;
    loaded.pixels[pixel] ^= 0x80;
  }
  EXPECT_EQ(loaded.Encode(0), before);
}

TEST_F(AutoencoderKlEncoderTest, SmallerPicturesNeedNoMoreMemory) {
  Loaded loaded("flux_dev", /*poison=*/true);
  loaded.Encode(0);
  const int allocations = loaded.ops.allocations();
  loaded.Encode(0, kHeight / 2, kWidth);
  loaded.Encode(0);
  EXPECT_EQ(loaded.ops.allocations(), allocations);
  EXPECT_GT(loaded.encoder->WorkspaceBytes(kHeight, kWidth),
            loaded.encoder->WorkspaceBytes(kHeight / 2, kWidth));
}

}  // namespace
}  // namespace darkroom
