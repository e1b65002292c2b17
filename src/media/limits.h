#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom::media_limits {

// Every bound of this layer.

// Pixels of a width or a height.
inline constexpr int kSideMax = 16384;
// 8K by 8K. Bounds the memory that an encoder may take: three bytes a pixel and a little.
inline constexpr int64_t kPixelsMax = int64_t{64} << 20;

// Metadata entries of one picture.
inline constexpr size_t kTextsMax = 64;
// PNG's own bound on a keyword.
inline constexpr size_t kTextKeyBytesMax = 79;
// A prompt of 10 KiB with everything else that describes a picture.
inline constexpr size_t kTextValueBytesMax = 64 << 10;

}  // namespace darkroom::media_limits
