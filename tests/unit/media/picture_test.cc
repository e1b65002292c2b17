#include "media/picture.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "media/limits.h"
#include "testing/pictures.h"

namespace darkroom {
namespace {

using ::testing::AnyOf;
using testing::ExifBlock;
using ::testing::HasSubstr;
using testing::MakeJpeg;
using testing::MakePng;
using testing::MakeWebp;
using testing::PngChunk;
using testing::PngSpec;
using testing::WithChunk;

absl::StatusOr<RgbaPicture> Decode(const std::string& bytes) {
  return DecodePicture({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

std::string Reason(const std::string& bytes) { return ErrorReason(Decode(bytes).status()); }

std::vector<int> Pixel(const RgbaPicture& picture, int x, int y) {
  const uint8_t* p = &picture.rgba[static_cast<size_t>(y * picture.width + x) * 4];
  return {p[0], p[1], p[2], p[3]};
}

// An IHDR that claims a size, with nothing behind it.
std::string HeaderOnly(uint32_t width, uint32_t height) {
  std::string data;
  testing::AppendBigEndian(data, width);
  testing::AppendBigEndian(data, height);
  data += std::string("\x08\x02\0\0\0", 5);
  return std::string("\x89PNG\r\n\x1a\n", 8) + PngChunk("IHDR", data) + PngChunk("IEND", "");
}

TEST(PictureTest, PngOfEveryKindBecomesRgba) {
  for (const int color : {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                          PNG_COLOR_TYPE_RGBA, PNG_COLOR_TYPE_PALETTE}) {
    for (const int bits : {1, 2, 4, 8, 16}) {
      const bool deep_only = color != PNG_COLOR_TYPE_GRAY && color != PNG_COLOR_TYPE_PALETTE;
      if ((deep_only && bits < 8) || (color == PNG_COLOR_TYPE_PALETTE && bits > 8)) continue;
      for (const bool interlaced : {false, true}) {
        const auto picture = Decode(MakePng({7, 5, color, bits, interlaced}));
        ASSERT_TRUE(picture.ok()) << color << " " << bits << " " << picture.status();
        EXPECT_EQ(picture->width, 7);
        EXPECT_EQ(picture->height, 5);
        EXPECT_EQ(picture->rgba.size(), size_t{7} * 5 * 4);
        EXPECT_EQ(picture->has_alpha,
                  color == PNG_COLOR_TYPE_GRAY_ALPHA || color == PNG_COLOR_TYPE_RGBA);
        EXPECT_EQ(picture->media_type, "image/png");
      }
    }
  }
}

TEST(PictureTest, PngPixelsAreTheFilesOwn) {
  const auto rgb = Decode(MakePng({4, 2}));
  ASSERT_TRUE(rgb.ok());
  EXPECT_EQ(Pixel(*rgb, 1, 0), (std::vector<int>{21, 28, 35, 255}));
  EXPECT_EQ(Pixel(*rgb, 0, 1), (std::vector<int>{84, 91, 98, 255}));
  const auto grey = Decode(MakePng({4, 2, PNG_COLOR_TYPE_GRAY}));
  ASSERT_TRUE(grey.ok());
  EXPECT_EQ(Pixel(*grey, 2, 0), (std::vector<int>{14, 14, 14, 255}));
  const auto palette = Decode(MakePng({4, 2, PNG_COLOR_TYPE_PALETTE}));
  ASSERT_TRUE(palette.ok());
  EXPECT_EQ(Pixel(*palette, 2, 0), (std::vector<int>{14, 241, 7, 255}));
}

TEST(PictureTest, JpegOfEveryKind) {
  for (const bool progressive : {false, true}) {
    const auto picture = Decode(MakeJpeg(33, 17, progressive));
    ASSERT_TRUE(picture.ok()) << picture.status();
    EXPECT_EQ(picture->width, 33);
    EXPECT_EQ(picture->height, 17);
    EXPECT_FALSE(picture->has_alpha);
    EXPECT_EQ(Pixel(*picture, 5, 5)[3], 255);
  }
  const auto inks = Decode(MakeJpeg(16, 16, false, {}, true));
  ASSERT_TRUE(inks.ok()) << inks.status();
  EXPECT_EQ(Pixel(*inks, 3, 3)[3], 255);
}

TEST(PictureTest, WebpWithAndWithoutAlpha) {
  for (const bool alpha : {false, true}) {
    const auto picture = Decode(MakeWebp(9, 6, alpha));
    ASSERT_TRUE(picture.ok()) << picture.status();
    EXPECT_EQ(picture->has_alpha, alpha);
    EXPECT_EQ(Pixel(*picture, 1, 0)[2], 30);
    EXPECT_EQ(picture->media_type, "image/webp");
  }
}

TEST(PictureTest, IsTurnedAsItsNoteAsks) {
  // Brightness grows downward in the stored picture, which is 24 wide and 16 high.
  const auto brightness = [](const RgbaPicture& picture, double x, double y) {
    return Pixel(picture, static_cast<int>(x * (picture.width - 1)),
                 static_cast<int>(y * (picture.height - 1)))[0];
  };
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool little : {true, false}) {
      const auto picture = Decode(MakeJpeg(24, 16, false, ExifBlock(orientation, little)));
      ASSERT_TRUE(picture.ok());
      EXPECT_EQ(picture->width, orientation >= 5 ? 16 : 24) << orientation;
      const int top = brightness(*picture, 0.5, 0);
      const int bottom = brightness(*picture, 0.5, 1);
      const int left = brightness(*picture, 0, 0.5);
      const int right = brightness(*picture, 1, 0.5);
      switch (orientation) {
        case 1:
        case 2:
          EXPECT_LT(top, bottom);
          break;
        case 3:
        case 4:
          EXPECT_GT(top, bottom);
          break;
        case 5:
        case 8:
          EXPECT_LT(left, right);
          break;
        default:
          EXPECT_GT(left, right) << "6 and 7 bring the stored top to the right";
          break;
      }
    }
  }
}

TEST(PictureTest, PngNotesTurnItToo) {
  const std::string png = MakePng({4, 2});
  const std::string exif = ExifBlock(6).substr(6);
  const auto upright = Decode(png);
  const auto turned = Decode(WithChunk(png, PngChunk("eXIf", exif)));
  ASSERT_TRUE(turned.ok()) << turned.status();
  EXPECT_EQ(turned->width, 2);
  EXPECT_EQ(turned->height, 4);
  // A quarter to the right: the stored top left comes to the top right.
  EXPECT_EQ(Pixel(*turned, 1, 0), Pixel(*upright, 0, 0));
  EXPECT_EQ(Pixel(*turned, 0, 0), Pixel(*upright, 0, 1));
  EXPECT_EQ(Pixel(*turned, 1, 3), Pixel(*upright, 3, 0));
}

TEST(PictureTest, SizesAreRefusedFromTheHeader) {
  EXPECT_EQ(Reason(HeaderOnly(60'000, 60'000)), "PICTURE_TOO_LARGE");
  EXPECT_EQ(Reason(HeaderOnly(8193, 1)), "PICTURE_TOO_LARGE");
  EXPECT_EQ(Reason(HeaderOnly(8192, 8192)), "PICTURE_TOO_LARGE");
  EXPECT_EQ(Reason(HeaderOnly(0x7fffffff, 0x7fffffff)), "PICTURE_TOO_LARGE");
  EXPECT_EQ(Reason(HeaderOnly(0, 5)), "PICTURE_BROKEN");
  // Within the bounds, but there is nothing.
  EXPECT_EQ(Reason(HeaderOnly(64, 64)), "PICTURE_BROKEN");
  EXPECT_THAT(std::string(Decode(HeaderOnly(60'000, 60'000)).status().message()),
              HasSubstr("60000 by 60000"));
}

TEST(PictureTest, WhatIsNoPictureIsNamed) {
  EXPECT_EQ(Reason(""), "PICTURE_EMPTY");
  EXPECT_EQ(Reason("GIF89a..."), "PICTURE_FORMAT_UNKNOWN");
  EXPECT_EQ(Reason("<svg/>"), "PICTURE_FORMAT_UNKNOWN");
  EXPECT_EQ(Reason(WithChunk(MakePng({}), PngChunk("acTL", std::string(8, '\0')))),
            "PICTURE_ANIMATED");
}

TEST(PictureTest, CompressedNotesAreNotUnpacked) {
  // 64 MiB of zeros in 64 KiB: a colour profile, a text and an international text.
  std::string bomb(size_t{64} << 20, '\0');
  uLongf packed_size = compressBound(bomb.size());
  std::string packed(packed_size, '\0');
  ASSERT_EQ(compress(reinterpret_cast<Bytef*>(packed.data()), &packed_size,
                     reinterpret_cast<const Bytef*>(bomb.data()), bomb.size()),
            Z_OK);
  packed.resize(packed_size);
  std::string png = MakePng({});
  png = WithChunk(png, PngChunk("iCCP", std::string("p\0\0", 3) + packed));
  for (int i = 0; i < 20; ++i) {
    png = WithChunk(png, PngChunk("zTXt", std::string("k\0\0", 3) + packed));
  }
  EXPECT_TRUE(Decode(png).ok()) << Decode(png).status();
}

class HostilePictureTest : public ::testing::TestWithParam<int> {
 protected:
  static std::string Sound(int kind) {
    switch (kind) {
      case 0:
        return MakePng({13, 9});
      case 1:
        return MakePng({13, 9, PNG_COLOR_TYPE_PALETTE, 4, true});
      case 2:
        return MakeJpeg(16, 16, false, ExifBlock(6));
      case 3:
        return MakeJpeg(16, 16, true);
      default:
        return MakeWebp(13, 9, true);
    }
  }
};

TEST_P(HostilePictureTest, CutAnywhereIsRefused) {
  const std::string sound = Sound(GetParam());
  ASSERT_TRUE(Decode(sound).ok());
  // A JPEG's two last bytes say only that it has ended.
  const size_t needed = GetParam() == 2 || GetParam() == 3 ? sound.size() - 2 : sound.size();
  for (size_t size = 0; size < needed; ++size) {
    const auto picture = Decode(sound.substr(0, size));
    EXPECT_FALSE(picture.ok()) << size << " of " << sound.size();
    EXPECT_THAT(ErrorReason(picture.status()),
                AnyOf("PICTURE_EMPTY", "PICTURE_BROKEN", "PICTURE_FORMAT_UNKNOWN"));
  }
}

TEST_P(HostilePictureTest, AnyBitMayBeWrong) {
  const std::string sound = Sound(GetParam());
  for (size_t bit = 0; bit < sound.size() * 8; ++bit) {
    std::string changed = sound;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    const auto picture = Decode(changed);
    if (picture.ok()) {
      EXPECT_EQ(picture->rgba.size(), static_cast<size_t>(picture->width) * picture->height * 4);
    } else {
      EXPECT_NE(ErrorReason(picture.status()), "") << picture.status();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, HostilePictureTest, ::testing::Range(0, 5));

TEST(PixelsForTest, MasksMeanWhatTheirPolaritySays) {
  RgbaPicture picture{
      "image/png", 3, 1, true, {255, 255, 255, 255, 0, 0, 0, 0, 128, 128, 128, 127}};
  EXPECT_EQ(*PixelsFor(picture, PictureUse::kMaskWhite), std::string("\xff\0\xff", 3));
  EXPECT_EQ(*PixelsFor(picture, PictureUse::kMaskBlack), std::string("\0\xff\0", 3));
  EXPECT_EQ(*PixelsFor(picture, PictureUse::kMaskTransparent), std::string("\0\xff\xff", 3));
  EXPECT_EQ(*PixelsFor(picture, PictureUse::kImage),
            std::string("\xff\xff\xff\0\0\0\x80\x80\x80", 9));
  EXPECT_EQ(*PixelsFor(picture, PictureUse::kCheck), "");
  picture.has_alpha = false;
  EXPECT_EQ(ErrorReason(PixelsFor(picture, PictureUse::kMaskTransparent).status()),
            "MASK_WITHOUT_ALPHA");
}

TEST(PixelsForTest, AMaskOf127IsKeptAnd128Painted) {
  const RgbaPicture picture{"image/png", 2, 1, false, {127, 127, 127, 255, 128, 128, 128, 255}};
  EXPECT_EQ(*PixelsFor(picture, PictureUse::kMaskWhite), std::string("\0\xff", 2));
}

}  // namespace
}  // namespace darkroom
