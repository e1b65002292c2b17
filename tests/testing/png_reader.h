#pragma once

#include <png.h>
#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom::testing {

// What a test wants to know of a PNG. Header only; users link PNG::PNG and ZLIB::ZLIB.
struct DecodedPng {
  static constexpr size_t kChunksMax = 100'000;
  static constexpr int64_t kPixelsMax = int64_t{64} << 20;

  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
  std::vector<std::string> chunks;
  // tEXt and uncompressed iTXt, in their order.
  std::vector<std::pair<std::string, std::string>> texts;
};

namespace png_internal {

inline uint32_t ReadU32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = (value << 8) | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

inline absl::Status ReadText(const std::string& type, std::string_view data, DecodedPng& png) {
  const size_t key_end = data.find('\0');
  if (key_end == std::string_view::npos) return absl::DataLossError("a text without a key");
  size_t value = key_end + 1;
  if (type == "iTXt") {
    // Compression flag and method, then language and translated key, each ended by a NUL.
    if (value + 2 > data.size() || data[value] != 0) return absl::DataLossError("compressed iTXt");
    value += 2;
    for (int i = 0; i < 2; ++i) {
      value = data.find('\0', value);
      if (value == std::string_view::npos) return absl::DataLossError("a cut iTXt");
      ++value;
    }
  }
  png.texts.emplace_back(std::string(data.substr(0, key_end)), std::string(data.substr(value)));
  return absl::OkStatus();
}

}  // namespace png_internal

// Reads the chunks by hand, checking lengths and checksums, and the pixels by libpng. Only 8-bit
// RGB of at most 64 megapixels, and nothing after the end.
inline absl::StatusOr<DecodedPng> DecodePng(std::string_view bytes) {
  using png_internal::ReadU32;
  constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
  if (bytes.substr(0, 8) != kSignature) return absl::DataLossError("no signature");
  DecodedPng png;
  size_t at = 8;
  while (at < bytes.size()) {
    if (bytes.size() - at < 12) return absl::DataLossError("a cut chunk");
    const size_t length = ReadU32(bytes, at);
    if (length > bytes.size() - at - 12) return absl::DataLossError("a chunk past the end");
    if (png.chunks.size() == DecodedPng::kChunksMax) return absl::DataLossError("too many chunks");
    const std::string type(bytes.substr(at + 4, 4));
    const std::string_view data = bytes.substr(at + 8, length);
    const auto* checked = reinterpret_cast<const unsigned char*>(bytes.data() + at + 4);
    if (crc32(0, checked, static_cast<uInt>(length + 4)) != ReadU32(bytes, at + 8 + length)) {
      return absl::DataLossError("a wrong checksum");
    }
    png.chunks.push_back(type);
    if (type == "IHDR") {
      if (length != 13 || data.substr(8) != std::string_view("\x08\x02\x00\x00\x00", 5)) {
        return absl::DataLossError("not plain 8-bit RGB");
      }
      const int64_t width = ReadU32(data, 0);
      const int64_t height = ReadU32(data, 4);
      if (width < 1 || height < 1 || width > DecodedPng::kPixelsMax ||
          height > DecodedPng::kPixelsMax / width) {
        return absl::DataLossError("a size out of bounds");
      }
      png.width = static_cast<int>(width);
      png.height = static_cast<int>(height);
    } else if (type == "tEXt" || type == "iTXt") {
      if (absl::Status status = png_internal::ReadText(type, data, png); !status.ok()) {
        return status;
      }
    }
    at += length + 12;
    if (type == "IEND") break;
  }
  if (at != bytes.size() || png.chunks.empty() || png.chunks.front() != "IHDR" ||
      png.chunks.back() != "IEND") {
    return absl::DataLossError("no clean start or end");
  }

  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&image, bytes.data(), bytes.size())) {
    return absl::DataLossError(image.message);
  }
  image.format = PNG_FORMAT_RGB;
  png.rgb.resize(size_t{3} * png.width * png.height);
  if (!png_image_finish_read(&image, nullptr, png.rgb.data(), 0, nullptr)) {
    return absl::DataLossError(image.message);
  }
  return png;
}

}  // namespace darkroom::testing
