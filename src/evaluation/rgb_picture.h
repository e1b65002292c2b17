#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom {

// A picture as it is measured.
struct RgbPicture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3], sRGB
};

// Decodes a PNG, JPEG or WebP; transparency is dropped. INVALID_ARGUMENT: see DecodePicture
// (media/picture.h), and PICTURE_TOO_LARGE above kPictureSideMax.
absl::StatusOr<RgbPicture> DecodeRgb(std::string_view bytes);

// The mean of every `factor` x `factor` pixels, rounded to the nearest. REQUIRES: both sides are
// multiples of it.
RgbPicture ReducePicture(const RgbPicture& picture, int factor);

}  // namespace darkroom
