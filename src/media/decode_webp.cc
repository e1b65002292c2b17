// WebP by libwebp (the RIFF container, developers.google.com/speed/webp/docs/riff_container).

#include <webp/decode.h>

#include <cstddef>
#include <string_view>

#include "media/exif.h"
#include "media/picture_formats.h"

namespace darkroom::media {
namespace {

constexpr size_t kRiffHeaderBytes = 12;
constexpr size_t kChunkHeaderBytes = 8;

std::string_view TextAt(absl::Span<const uint8_t> bytes, size_t offset) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, 4};
}

int OrientationOf(absl::Span<const uint8_t> bytes) {
  size_t at = kRiffHeaderBytes;
  while (at <= bytes.size() && bytes.size() - at >= kChunkHeaderBytes) {
    size_t size = 0;
    for (size_t i = 0; i < 4; ++i) size |= static_cast<size_t>(bytes[at + 4 + i]) << (8 * i);
    if (size > bytes.size() - at - kChunkHeaderBytes) break;
    if (TextAt(bytes, at) == "EXIF") {
      return ExifOrientation(bytes.subspan(at + kChunkHeaderBytes, size));
    }
    // Chunks begin at even places.
    at += kChunkHeaderBytes + size + size % 2;
  }
  return 1;
}

}  // namespace

bool IsWebp(absl::Span<const uint8_t> bytes) {
  return bytes.size() >= kRiffHeaderBytes && TextAt(bytes, 0) == "RIFF" &&
         TextAt(bytes, 8) == "WEBP";
}

absl::StatusOr<Raster> DecodeWebp(absl::Span<const uint8_t> bytes) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK) {
    return Broken("is a damaged or truncated WebP");
  }
  if (features.has_animation != 0) return Animated();
  Raster raster;
  raster.header = {features.width, features.height, features.has_alpha != 0, OrientationOf(bytes)};
  absl::Status status = CheckSize(features.width, features.height);
  if (!status.ok()) return status;
  const size_t row_bytes = static_cast<size_t>(features.width) * 4;
  raster.rgba.resize(row_bytes * static_cast<size_t>(features.height));
  if (WebPDecodeRGBAInto(bytes.data(), bytes.size(), raster.rgba.data(), raster.rgba.size(),
                         static_cast<int>(row_bytes)) == nullptr) {
    return Broken("is a damaged or truncated WebP");
  }
  return raster;
}

}  // namespace darkroom::media
