#include <cmath>

#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

class ImageTest : public OpsTest {};

TEST_F(ImageTest, AddRepeatsTheRowsOfY) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    OwnedTensor x(dtype, {7, 37});
    x.Fill(random_);
    OwnedTensor y(DType::kF32, {3, 37});
    y.Fill(random_);
    OwnedTensor out(DType::kF32, {7, 37});
    ASSERT_TRUE(ops().Add(*x, *y, *out, *stream_).ok());
    for (int64_t i = 0; i < 7 * 37; ++i) {
      EXPECT_EQ(out.Get(i), x.Get(i) + y.Get(i / 37 % 3 * 37 + i % 37));
    }
  }
}

TEST_F(ImageTest, AddMayWorkInPlaceAndRefusesOtherShapes) {
  OwnedTensor x(DType::kF32, {70, 1000});
  x.Fill(random_);
  const OwnedTensor before = x;
  ASSERT_TRUE(ops().Add(*x, *before, *x, *stream_).ok());
  for (int64_t i = 0; i < 70000; ++i) ASSERT_EQ(x.Get(i), 2.0f * before.Get(i));
  OwnedTensor narrow(DType::kF32, {70, 999});
  EXPECT_EQ(ops().Add(*x, *narrow, *x, *stream_).message(),
            "Add: x and y must have rows of one length");
  EXPECT_EQ(ops().Add(*x, *x, *narrow, *stream_).message(),
            "Add: out is [70, 999], must be [70, 1000]");
}

TEST_F(ImageTest, SiluMatchesFloat64) {
  for (const int64_t size : {1, 15, 16, 17, 40000}) {
    OwnedTensor x(DType::kF32, {size});
    x.Fill(random_, 10.0f);
    OwnedTensor out(DType::kF32, {size});
    ASSERT_TRUE(ops().Silu(*x, *out, *stream_).ok());
    for (int64_t i = 0; i < size; ++i) {
      const double expected = x.Get(i) / (1.0 + std::exp(-static_cast<double>(x.Get(i))));
      ASSERT_NEAR(out.Get(i), expected, 3e-6 * std::abs(expected)) << x.Get(i);
    }
  }
}

TEST_F(ImageTest, Upsample2xRepeatsPixels) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    OwnedTensor x(dtype, {3, 5, 7});
    x.Fill(random_);
    OwnedTensor out(dtype, {6, 10, 7});
    ASSERT_TRUE(ops().Upsample2x(*x, *out, *stream_).ok());
    for (int64_t y = 0; y < 6; ++y) {
      for (int64_t column = 0; column < 10; ++column) {
        for (int64_t c = 0; c < 7; ++c) {
          ASSERT_EQ(out.Get((y * 10 + column) * 7 + c), x.Get((y / 2 * 5 + column / 2) * 7 + c));
        }
      }
    }
    EXPECT_FALSE(ops().Upsample2x(*out, *x, *stream_).ok());
  }
}

TEST_F(ImageTest, ToPixelsRoundsHalfToEvenAndClamps) {
  // (p / 255 - 0.5) * 2 is p; halves between two pixels go to the even one, as in NumPy.
  OwnedTensor x(DType::kF32, {1, 7, 1});
  const float half = 127.5f;
  const float values[] = {-1.0f, 1.0f, -3.0f, 7.0f, 0.0f, NAN, (2.5f / half) - 1.0f};
  for (int i = 0; i < 7; ++i) x.Set(i, values[i]);
  std::vector<uint8_t> pixels(7, 99);
  const Tensor out(pixels.data(), DType::kU8, {1, 7, 1});
  ASSERT_TRUE(ops().ToPixels(*x, out, *stream_).ok());
  EXPECT_THAT(pixels, ::testing::ElementsAre(0, 255, 0, 255, 128, 0, ::testing::AnyOf(2, 3)));
  EXPECT_FALSE(ops().ToPixels(*x, *x, *stream_).ok());
}

TEST_F(ImageTest, ToPixelsInvertsEveryPixel) {
  OwnedTensor x(DType::kF32, {16, 16, 1});
  for (int i = 0; i < 256; ++i) x.Set(i, static_cast<float>(i) / 127.5f - 1.0f);
  std::vector<uint8_t> pixels(256);
  ASSERT_TRUE(ops().ToPixels(*x, Tensor(pixels.data(), DType::kU8, {16, 16, 1}), *stream_).ok());
  for (int i = 0; i < 256; ++i) EXPECT_EQ(pixels[i], i);
}

}  // namespace
}  // namespace darkroom
