#include "media/png.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "media/limits.h"
#include "testing/png_reader.h"

namespace darkroom {
namespace {

using ::darkroom::testing::DecodedPng;
using ::darkroom::testing::DecodePng;
using ::testing::ElementsAre;
using ::testing::Pair;

// Smooth, with noise in the low bits, as photographs are.
std::vector<uint8_t> MakePicture(int width, int height) {
  std::vector<uint8_t> rgb;
  rgb.reserve(size_t{3} * width * height);
  uint32_t random = 1;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int channel = 0; channel < 3; ++channel) {
        random = random * 1664525 + 1013904223;
        rgb.push_back(static_cast<uint8_t>(x / 2 + y / 3 + 40 * channel + (random >> 29)));
      }
    }
  }
  return rgb;
}

TEST(EncodePng, KeepsEveryPixel) {
  for (const auto& [width, height] : std::vector<std::pair<int, int>>{
           {1, 1}, {1, 7}, {7, 1}, {3, 5}, {64, 64}, {257, 129}, {media_limits::kSideMax, 2}}) {
    const std::vector<uint8_t> rgb = MakePicture(width, height);
    const auto png = EncodePng(rgb, width, height, {});
    ASSERT_TRUE(png.ok()) << png.status();
    const auto decoded = DecodePng(*png);
    ASSERT_TRUE(decoded.ok()) << decoded.status() << " " << width << "x" << height;
    EXPECT_EQ(decoded->width, width);
    EXPECT_EQ(decoded->height, height);
    EXPECT_EQ(decoded->rgb, rgb);
    EXPECT_TRUE(decoded->texts.empty());
  }
}

TEST(EncodePng, SameInputSameBytes) {
  const std::vector<uint8_t> rgb = MakePicture(100, 80);
  const std::vector<PngText> texts = {{"Software", "Darkroom"}, {"prompt", "a fox"}};
  const auto first = EncodePng(rgb, 100, 80, texts);
  ASSERT_TRUE(first.ok());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*EncodePng(rgb, 100, 80, texts), *first);
}

TEST(EncodePng, WritesTextsInOrderAndInTheRightChunk) {
  const std::vector<PngText> texts = {{"Software", "Darkroom"},
                                      {"prompt", "Füchse 狐 🦊, two\nlines"},
                                      {"seed", "42"},
                                      {"empty", ""}};
  const auto png = EncodePng(MakePicture(4, 4), 4, 4, texts);
  ASSERT_TRUE(png.ok()) << png.status();
  const auto decoded = DecodePng(*png);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_THAT(decoded->texts,
              ElementsAre(Pair("Software", "Darkroom"), Pair("prompt", "Füchse 狐 🦊, two\nlines"),
                          Pair("seed", "42"), Pair("empty", "")));
  // Before the pixels, so that a reader of metadata need not read them. No time: bytes must repeat.
  EXPECT_THAT(decoded->chunks, ElementsAre("IHDR", "tEXt", "iTXt", "tEXt", "tEXt", "IDAT", "IEND"));
}

void ExpectInvalid(const absl::StatusOr<std::string>& png) {
  EXPECT_EQ(png.status().code(), absl::StatusCode::kInvalidArgument) << png.status();
  EXPECT_EQ(ErrorReason(png.status()), "IMAGE_INVALID");
}

TEST(EncodePng, RefusesSizesOutOfBounds) {
  const std::vector<uint8_t> rgb(12);
  ExpectInvalid(EncodePng(rgb, 0, 4, {}));
  ExpectInvalid(EncodePng(rgb, 4, 0, {}));
  ExpectInvalid(EncodePng(rgb, -1, -4, {}));
  ExpectInvalid(EncodePng(rgb, 2, 3, {}));
  ExpectInvalid(EncodePng(rgb, 1 << 30, 1 << 30, {}));
  ExpectInvalid(EncodePng(rgb, INT32_MAX, INT32_MAX, {}));
  ExpectInvalid(EncodePng(rgb, media_limits::kSideMax + 1, 1, {}));
  // Each side is allowed, the product is not.
  ExpectInvalid(EncodePng(rgb, media_limits::kSideMax, media_limits::kSideMax, {}));
  EXPECT_TRUE(EncodePng(rgb, 2, 2, {}).ok());
}

TEST(EncodePng, RefusesTextsThatAReaderCouldStumbleOver) {
  const std::vector<uint8_t> rgb(3);
  const auto encode = [&](std::string key, std::string value) {
    return EncodePng(rgb, 1, 1, {{std::move(key), std::move(value)}});
  };
  for (const std::string& key :
       {std::string(), std::string(" a"), std::string("a "), std::string("a  b"),
        std::string("a\nb"), std::string("ä"), std::string("a\0b", 3), std::string(80, 'a')}) {
    ExpectInvalid(encode(key, "value"));
  }
  EXPECT_TRUE(encode(std::string(79, 'a'), "value").ok());
  for (const std::string& value :
       {std::string("a\0b", 3), std::string("\xff"), std::string("\xc0\x80"),
        std::string("\xe0\x80\x80"), std::string("\xed\xa0\x80"), std::string("\xf4\x90\x80\x80"),
        std::string("\xf0\x9f\xa6"), std::string(media_limits::kTextValueBytesMax + 1, 'a')}) {
    ExpectInvalid(encode("key", value));
  }
  EXPECT_TRUE(encode("key", std::string(media_limits::kTextValueBytesMax, 'a')).ok());
  ExpectInvalid(EncodePng(
      rgb, 1, 1, std::vector<PngText>(media_limits::kTextsMax + 1, PngText{"key", "value"})));
}

// Guards the choice of settings: a picture must not take longer to encode than a step to compute.
TEST(EncodePng, MegapixelIsQuickAndSmall) {
  const int side = 1024;
  const std::vector<uint8_t> rgb = MakePicture(side, side);
  const auto start = std::chrono::steady_clock::now();
  const auto png = EncodePng(rgb, side, side, {});
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(png.ok());
  const double share = static_cast<double>(png->size()) / static_cast<double>(rgb.size());
  RecordProperty("milliseconds", std::to_string(took.count()));
  RecordProperty("share_of_raw", std::to_string(share));
  EXPECT_LT(share, 0.6);
  EXPECT_LT(took.count(), 2000) << "even on a busy machine with sanitizers";
}

}  // namespace
}  // namespace darkroom
