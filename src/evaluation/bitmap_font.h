#pragma once

#include <cstdint>
#include <string_view>

#include "evaluation/rgb_picture.h"

namespace darkroom {

// A font of our own for labels in pictures, so that none has to be installed: printable ASCII, in
// cells of 6 x 10 pixels. Anything else is drawn as a box.
inline constexpr int kGlyphWidth = 6;
inline constexpr int kGlyphHeight = 10;

// Draws one line of black text, its first cell's corner at (x, y). What lies outside the picture is
// left out.
void DrawText(std::string_view text, int x, int y, RgbPicture& picture);

}  // namespace darkroom
