#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace darkroom {

// One entry of a picture's metadata. Key: 1 to 79 printable ASCII characters, no space at either
// end and no two in a row. Value: UTF-8 without NUL, at most 64 KiB.
struct PngText {
  std::string key;
  std::string value;
};

// Encodes a picture as 8-bit RGB, with the texts in their order before the pixels: tEXt where the
// value is ASCII, iTXt otherwise. The same input gives the same bytes with the same zlib.
//
// `rgb`: u8 [height, width, 3], row-major, sRGB.
// INVALID_ARGUMENT (IMAGE_INVALID) for a size or text out of bounds (media/limits.h) or a span of
// another length; RESOURCE_EXHAUSTED (MEMORY_EXHAUSTED).
//
// Thread-safe; takes about 50 ms a megapixel.
absl::StatusOr<std::string> EncodePng(absl::Span<const uint8_t> rgb, int width, int height,
                                      absl::Span<const PngText> texts);

}  // namespace darkroom
