#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace darkroom::media {

// What the decoders of the formats share. See picture.h, which is for everyone else.

struct Header {
  int64_t width = 0;
  int64_t height = 0;
  bool has_alpha = false;
  int orientation = 1;  // Exif's
};

// Upright or not: as stored. `rgba` has width * height * 4 bytes.
struct Raster {
  Header header;
  std::vector<uint8_t> rgba;
};

bool IsPng(absl::Span<const uint8_t> bytes);
bool IsJpeg(absl::Span<const uint8_t> bytes);
bool IsWebp(absl::Span<const uint8_t> bytes);

// REQUIRES: the bytes are of that format by its signature.
absl::StatusOr<Raster> DecodePng(absl::Span<const uint8_t> bytes);
absl::StatusOr<Raster> DecodeJpeg(absl::Span<const uint8_t> bytes);
absl::StatusOr<Raster> DecodeWebp(absl::Span<const uint8_t> bytes);

// OK for a size within the bounds; PICTURE_TOO_LARGE or PICTURE_BROKEN for any other.
absl::Status CheckSize(int64_t width, int64_t height);

// `what` ends the sentence "the picture ...".
absl::Status Broken(const char* what);
absl::Status Animated();

}  // namespace darkroom::media
