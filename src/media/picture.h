#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/picture_decoder.h"

namespace darkroom {

// A picture of any kind, decoded: u8 [height, width, 4], red, green, blue, alpha.
struct RgbaPicture {
  std::string media_type;
  int width = 0;
  int height = 0;
  // The file has transparency; without it alpha is 255 everywhere.
  bool has_alpha = false;
  std::vector<uint8_t> rgba;
};

// Decodes PNG, JPEG or WebP, told apart by their first bytes. The header is read first: format and
// size are refused before memory is taken. One frame only; 16 bits are cut to 8, palettes and grey
// become colours, CMYK is converted without a profile, and colour profiles and texts are skipped
// unread. The picture is turned as its Exif note asks.
//
// INVALID_ARGUMENT: PICTURE_EMPTY, PICTURE_FORMAT_UNKNOWN, PICTURE_BROKEN (truncated ones too),
// PICTURE_TOO_LARGE (media/limits.h), PICTURE_ANIMATED.
//
// Thread-safe. Runs third-party decoders on untrusted bytes: only where a crash costs nothing.
absl::StatusOr<RgbaPicture> DecodePicture(absl::Span<const uint8_t> bytes);

// The pixels as `use` wants them (include/darkroom/picture_decoder.h). A mask's grey is Rec. 601
// luma, rounded as Pillow does. INVALID_ARGUMENT (MASK_WITHOUT_ALPHA).
absl::StatusOr<std::string> PixelsFor(const RgbaPicture& picture, PictureUse use);

}  // namespace darkroom
