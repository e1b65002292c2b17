#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom::media_limits {

// Every bound of this layer.

// Pixels of a width or a height.
inline constexpr int kSideMax = 16384;
// 8K by 8K. Bounds the memory that an encoder may take: three bytes a pixel and a little.
inline constexpr int64_t kPixelsMax = int64_t{64} << 20;

// Pictures that clients upload: refused from their headers beyond this. 16 Mi pixels are 64 MiB as
// RGBA, and a decoder needs at most a few times that.
inline constexpr int kInputSideMax = 8192;
inline constexpr int64_t kInputPixelsMax = int64_t{16} << 20;
// Scans of a progressive JPEG; encoders make about ten.
inline constexpr int kJpegScansMax = 100;
// A segment of a JPEG: its length has 16 bits.
inline constexpr unsigned kJpegSegmentBytesMax = 0xffff;
// Chunks of a PNG that its decoder keeps, and the memory for one.
inline constexpr int kPngChunksMax = 16;
inline constexpr int kPngChunkBytesMax = 1 << 20;

// What a process that decodes them may take: addresses, descriptors, one file, and seconds of
// computing for one picture.
inline constexpr uint64_t kDecoderMemoryBytesMax = uint64_t{1} << 30;
inline constexpr int kDecoderFilesMax = 16;
inline constexpr uint64_t kDecoderFileBytesMax = uint64_t{256} << 20;
inline constexpr int kDecodeCpuSecondsMax = 10;

// A mask's pixel from here on is painted anew.
inline constexpr uint8_t kMaskPaintedMin = 128;

// Metadata entries of one picture.
inline constexpr size_t kTextsMax = 64;
// PNG's own bound on a keyword.
inline constexpr size_t kTextKeyBytesMax = 79;
// A prompt of 10 KiB with everything else that describes a picture.
inline constexpr size_t kTextValueBytesMax = 64 << 10;

}  // namespace darkroom::media_limits
