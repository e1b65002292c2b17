#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace darkroom {

// How a picture asks to be turned: the tag Orientation (0x0112) of an Exif block's first directory
// (TIFF 6.0, Exif 2.32), 1 to 8. 1, upright, for a block that is missing, damaged or says nothing
// else: a broken note is no reason to refuse a sound picture. `exif` begins with the TIFF header,
// or with "Exif\0\0" before it.
int ExifOrientation(absl::Span<const uint8_t> exif);

}  // namespace darkroom
