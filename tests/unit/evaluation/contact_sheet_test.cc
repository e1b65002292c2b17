#include "evaluation/contact_sheet.h"

#include <algorithm>

#include "base/error.h"
#include "evaluation/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/noise_picture.h"
#include "testing/png_reader.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int kCell = evaluation_limits::kSheetCellPixelsMax;

RgbPicture Flat(int width, int height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(size_t{3} * width * height, value)};
}

testing::DecodedPng Decode(const ContactSheet& sheet) {
  const auto bytes = sheet.Png();
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  auto png = testing::DecodePng(*bytes);
  EXPECT_TRUE(png.ok()) << png.status();
  return *png;
}

int64_t CountOf(const testing::DecodedPng& png, uint8_t value) {
  int64_t count = 0;
  for (size_t i = 0; i < png.rgb.size(); i += 3) {
    count += std::all_of(&png.rgb[i], &png.rgb[i] + 3, [&](uint8_t c) { return c == value; });
  }
  return count;
}

TEST(ContactSheetTest, WrapsAtSpaces) {
  EXPECT_THAT(WrapText("", 10, 3), IsEmpty());
  EXPECT_THAT(WrapText("red apple", 10, 3), ElementsAre("red apple"));
  EXPECT_THAT(WrapText("a red apple", 5, 3), ElementsAre("a red", "apple"));
  EXPECT_THAT(WrapText("a red apple", 6, 3), ElementsAre("a red", "apple"));
  EXPECT_THAT(WrapText("strawberries", 5, 9), ElementsAre("straw", "berri", "es"));
  EXPECT_THAT(WrapText("one two three four", 5, 2), ElementsAre("one", "tw..."));
  // Characters, not bytes.
  EXPECT_THAT(WrapText("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 4, 2),
              ElementsAre("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"));
}

TEST(ContactSheetTest, EveryPictureHasItsPlace) {
  ContactSheet sheet({"exact", "bf16"});
  const RgbPicture small = Flat(kCell / 2, kCell / 2, 40);
  const RgbPicture large = Flat(3 * kCell, 3 * kCell, 80);
  sheet.Add("red apple", {&small, &large});
  testing::DecodedPng png = Decode(sheet);
  EXPECT_EQ(CountOf(png, 40), kCell * kCell) << "doubled";
  EXPECT_EQ(CountOf(png, 80), kCell * kCell) << "reduced";
  EXPECT_GT(CountOf(png, 0), 100) << "the names";
  const int one_row = png.height;
  sheet.Add("dog", {&small, &small});
  png = Decode(sheet);
  EXPECT_GT(png.height, one_row + kCell);
  EXPECT_EQ(CountOf(png, 40), 3 * kCell * kCell);
}

TEST(ContactSheetTest, OddSizesFit) {
  for (const int side : {1, 3, 100, kCell - 1, kCell + 1, 2 * kCell - 1, 1000}) {
    ContactSheet sheet({"exact"});
    const RgbPicture picture = Flat(side, side / 2 + 1, 40);
    sheet.Add(std::string(10'000, 'x'), {&picture});
    const int64_t drawn = CountOf(Decode(sheet), 40);
    EXPECT_GT(drawn, 0) << side;
    EXPECT_LE(drawn, kCell * kCell) << side;
  }
}

TEST(ContactSheetTest, IsBounded) {
  ContactSheet sheet({"exact"});
  EXPECT_EQ(ErrorReason(sheet.Png().status()), "SHEET_EMPTY");
  const RgbPicture picture = Flat(1, 1, 0);
  while (!sheet.full()) sheet.Add("x", {&picture});
  EXPECT_EQ(sheet.rows(), evaluation_limits::kSheetRowsMax);
  EXPECT_TRUE(sheet.Png().ok());
}

}  // namespace
}  // namespace darkroom
