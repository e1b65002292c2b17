#include "media/exif.h"

#include <string>

#include "gtest/gtest.h"
#include "testing/pictures.h"

namespace darkroom {
namespace {

int Orientation(const std::string& exif) {
  return ExifOrientation({reinterpret_cast<const uint8_t*>(exif.data()), exif.size()});
}

TEST(ExifTest, ReadsBothByteOrders) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(Orientation(testing::ExifBlock(orientation, true)), orientation);
    EXPECT_EQ(Orientation(testing::ExifBlock(orientation, false)), orientation);
    EXPECT_EQ(Orientation(testing::ExifBlock(orientation).substr(6)), orientation);
  }
}

TEST(ExifTest, WhatIsDamagedIsUpright) {
  EXPECT_EQ(Orientation(""), 1);
  EXPECT_EQ(Orientation("Exif"), 1);
  EXPECT_EQ(Orientation(testing::ExifBlock(0)), 1);
  EXPECT_EQ(Orientation(testing::ExifBlock(9)), 1);
  const std::string sound = testing::ExifBlock(6);
  for (size_t size = 0; size < sound.size(); ++size) {
    const int orientation = Orientation(sound.substr(0, size));
    EXPECT_TRUE(orientation == 1 || orientation == 6);
  }
  for (size_t bit = 0; bit < sound.size() * 8; ++bit) {
    std::string changed = sound;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    const int orientation = Orientation(changed);
    EXPECT_GE(orientation, 1);
    EXPECT_LE(orientation, 8);
  }
}

}  // namespace
}  // namespace darkroom
