#include "evaluation/picture_metrics.h"

#include <cmath>

#include "base/error.h"
#include "gtest/gtest.h"
#include "testing/noise_picture.h"

namespace darkroom {
namespace {

using testing::NoisePicture;

// Values of real pictures are compared with scikit-image's in tests/golden.

RgbPicture Flat(int width, int height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(size_t{3} * width * height, value)};
}

TEST(PictureMetricsTest, EqualPicturesAreInfinitelyCloseAndEntirelySimilar) {
  const RgbPicture picture = NoisePicture(24, 1);
  EXPECT_TRUE(std::isinf(*Psnr(picture, picture)));
  EXPECT_GT(*Psnr(picture, picture), 0);
  EXPECT_DOUBLE_EQ(*Ssim(picture, picture), 1.0);
}

TEST(PictureMetricsTest, PsnrOfAKnownDifference) {
  // 255^2 / 1, and a difference of all there is.
  EXPECT_NEAR(*Psnr(Flat(16, 16, 10), Flat(16, 16, 11)), 48.1308, 1e-4);
  EXPECT_NEAR(*Psnr(Flat(16, 16, 0), Flat(16, 16, 255)), 0.0, 1e-12);
  RgbPicture one = Flat(2, 2, 100);
  one.rgb[5] = 106;  // 36 / 12 = 3
  EXPECT_NEAR(*Psnr(one, Flat(2, 2, 100)), 10 * std::log10(255.0 * 255.0 / 3), 1e-9);
}

TEST(PictureMetricsTest, SsimOfFlatPicturesIsTheLuminanceTermAlone) {
  const double c1 = 0.01 * 255 * 0.01 * 255;
  EXPECT_NEAR(*Ssim(Flat(11, 11, 100), Flat(11, 11, 50)),
              (2.0 * 100 * 50 + c1) / (100.0 * 100 + 50 * 50 + c1), 1e-9);
}

TEST(PictureMetricsTest, MoreNoiseIsWorse) {
  const RgbPicture reference = NoisePicture(32, 2);
  const RgbPicture noise = NoisePicture(32, 3);
  double psnr_before = INFINITY;
  double ssim_before = 1;
  for (const int weight : {1, 8, 64, 255}) {
    RgbPicture mixed = reference;
    for (size_t i = 0; i < mixed.rgb.size(); ++i) {
      mixed.rgb[i] =
          static_cast<uint8_t>((reference.rgb[i] * (255 - weight) + noise.rgb[i] * weight) / 255);
    }
    EXPECT_LT(*Psnr(mixed, reference), psnr_before);
    EXPECT_LT(*Ssim(mixed, reference), ssim_before);
    psnr_before = *Psnr(mixed, reference);
    ssim_before = *Ssim(mixed, reference);
  }
  EXPECT_LT(ssim_before, 0.1);
}

TEST(PictureMetricsTest, RefusesWhatCannotBeCompared) {
  EXPECT_EQ(ErrorReason(Psnr(Flat(16, 16, 0), Flat(16, 17, 0)).status()), "PICTURE_SIZES_DIFFER");
  EXPECT_EQ(ErrorReason(Ssim(Flat(16, 16, 0), Flat(17, 16, 0)).status()), "PICTURE_SIZES_DIFFER");
  EXPECT_EQ(ErrorReason(Ssim(Flat(10, 16, 0), Flat(10, 16, 0)).status()), "PICTURE_TOO_SMALL");
  EXPECT_TRUE(Psnr(Flat(1, 1, 0), Flat(1, 1, 3)).ok());
}

}  // namespace
}  // namespace darkroom
