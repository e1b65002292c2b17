#include "evaluation/rgb_picture.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "media/png.h"
#include "testing/noise_picture.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;

TEST(RgbPictureTest, DecodesWhatTheServerSends) {
  const RgbPicture picture = testing::NoisePicture(20, 4);
  const auto png = EncodePng(picture.rgb, picture.width, picture.height, {});
  ASSERT_TRUE(png.ok());
  const auto decoded = DecodeRgb(*png);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->width, 20);
  EXPECT_EQ(decoded->rgb, picture.rgb);
  EXPECT_EQ(ErrorReason(DecodeRgb(png->substr(0, 300)).status()), "PICTURE_BROKEN");
  EXPECT_EQ(ErrorReason(DecodeRgb("").status()), "PICTURE_EMPTY");
}

TEST(RgbPictureTest, RefusesWhatIsTooLargeToMeasure) {
  const std::vector<uint8_t> rgb(size_t{3} * 2049, 0);
  const auto png = EncodePng(rgb, 2049, 1, {});
  ASSERT_TRUE(png.ok());
  EXPECT_EQ(ErrorReason(DecodeRgb(*png).status()), "PICTURE_TOO_LARGE");
}

TEST(RgbPictureTest, ReducesByTheMean) {
  // Rows (0, 10), (20, 31) of red; green the double; blue constant.
  const RgbPicture picture{2, 2, {0, 0, 7, 10, 20, 7, 20, 40, 7, 31, 62, 7}};
  const RgbPicture reduced = ReducePicture(picture, 2);
  EXPECT_EQ(reduced.width, 1);
  EXPECT_EQ(reduced.height, 1);
  EXPECT_THAT(reduced.rgb, ElementsAre(15, 31, 7));
  EXPECT_EQ(ReducePicture(picture, 1).rgb, picture.rgb);
}

}  // namespace
}  // namespace darkroom
