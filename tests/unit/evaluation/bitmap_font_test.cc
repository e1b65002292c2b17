#include "evaluation/bitmap_font.h"

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

RgbPicture Draw(const std::string& text, int x = 0, int y = 0) {
  RgbPicture picture{4 * kGlyphWidth, kGlyphHeight, {}};
  picture.rgb.assign(size_t{3} * picture.width * picture.height, 255);
  DrawText(text, x, y, picture);
  return picture;
}

int64_t Ink(const RgbPicture& picture) {
  return std::count(picture.rgb.begin(), picture.rgb.end(), 0) / 3;
}

TEST(BitmapFontTest, EveryCharacterLooksLikeItself) {
  std::set<std::string> seen;
  for (char c = ' '; c < 0x7f; ++c) {
    const RgbPicture picture = Draw(std::string(1, c));
    EXPECT_TRUE(seen.emplace(picture.rgb.begin(), picture.rgb.end()).second) << c;
    EXPECT_EQ(Ink(picture) == 0, c == ' ') << c;
  }
}

TEST(BitmapFontTest, WhatIsNoAsciiIsOneBox) {
  EXPECT_EQ(Draw("\xc3\xa9").rgb, Draw("\x01").rgb);
  EXPECT_EQ(Draw("\xf0\x9f\x8d\x8e").rgb, Draw("\x7f").rgb);
  EXPECT_GT(Ink(Draw("\x7f")), 0);
}

TEST(BitmapFontTest, WhatLiesOutsideIsLeftOut) {
  EXPECT_EQ(Ink(Draw("abcd", -100, 0)), 0);
  EXPECT_EQ(Ink(Draw("abcd", 0, 100)), 0);
  const int64_t part = Ink(Draw("MMMMMM", -3, -3));
  EXPECT_GT(part, 0);
  EXPECT_LT(part, Ink(Draw("MMMM")));
}

}  // namespace
}  // namespace darkroom
