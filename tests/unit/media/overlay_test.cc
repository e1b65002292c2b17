#include "media/overlay.h"

#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(OverlayTest, KeepsExactlyWhatTheMaskKeeps) {
  const std::vector<uint8_t> init = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<uint8_t> mask = {0, 127, 128};
  std::vector<uint8_t> pixels(9, 200);
  ASSERT_TRUE(OverlayUnmasked(init, mask, absl::MakeSpan(pixels)).ok());
  EXPECT_EQ(pixels, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 200, 200, 200}));
}

TEST(OverlayTest, SizesMustAgree) {
  std::vector<uint8_t> pixels(9, 200);
  const std::vector<uint8_t> untouched = pixels;
  EXPECT_EQ(ErrorReason(OverlayUnmasked(std::vector<uint8_t>(6), std::vector<uint8_t>(3),
                                        absl::MakeSpan(pixels))),
            "OVERLAY_SIZE_MISMATCH");
  EXPECT_EQ(ErrorReason(OverlayUnmasked(std::vector<uint8_t>(9), std::vector<uint8_t>(2),
                                        absl::MakeSpan(pixels))),
            "OVERLAY_SIZE_MISMATCH");
  EXPECT_EQ(pixels, untouched);
}

}  // namespace
}  // namespace darkroom
