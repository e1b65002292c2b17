// PNG by libpng (ISO/IEC 15948; APNG's acTL and the eXIf chunk by their extensions).

#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <iterator>
#include <string_view>

#include "media/exif.h"
#include "media/limits.h"
#include "media/picture_formats.h"

namespace darkroom::media {
namespace {

constexpr uint8_t kSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr size_t kChunkFrameBytes = 12;  // length, type, checksum
constexpr size_t kIhdrBytes = 13;

uint32_t BigEndian(absl::Span<const uint8_t> bytes, size_t offset) {
  return static_cast<uint32_t>(bytes[offset]) << 24 |
         static_cast<uint32_t>(bytes[offset + 1]) << 16 |
         static_cast<uint32_t>(bytes[offset + 2]) << 8 | bytes[offset + 3];
}

// Size, animation, orientation and transparency from the chunks, before libpng sees anything.
absl::StatusOr<Header> ReadHeader(absl::Span<const uint8_t> bytes) {
  Header header;
  bool first = true;
  bool ended = false;
  for (size_t at = std::size(kSignature); !ended; first = false) {
    if (bytes.size() - at < kChunkFrameBytes) return Broken("ends in the middle");
    const size_t size = BigEndian(bytes, at);
    if (size > bytes.size() - at - kChunkFrameBytes) return Broken("ends in the middle");
    const std::string_view type(reinterpret_cast<const char*>(&bytes[at + 4]), 4);
    const absl::Span<const uint8_t> data = bytes.subspan(at + 8, size);
    if (first != (type == "IHDR") || (first && size != kIhdrBytes)) {
      return Broken("is a PNG without its header");
    }
    if (first) {
      header.width = BigEndian(data, 0);
      header.height = BigEndian(data, 4);
      if (absl::Status status = CheckSize(header.width, header.height); !status.ok()) return status;
      header.has_alpha = data[9] == PNG_COLOR_TYPE_RGBA || data[9] == PNG_COLOR_TYPE_GRAY_ALPHA;
    }
    if (type == "acTL") return Animated();
    if (type == "tRNS") header.has_alpha = true;
    if (type == "eXIf") header.orientation = ExifOrientation(data);
    ended = type == "IEND";
    at += kChunkFrameBytes + size;
  }
  return header;
}

struct Source {
  absl::Span<const uint8_t> rest;
};

void ReadBytes(png_structp png, png_bytep out, size_t size) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (source->rest.size() < size) png_error(png, "ends");
  std::memcpy(out, source->rest.data(), size);
  source->rest.remove_prefix(size);
}

void OnError(png_structp png, png_const_charp) { png_longjmp(png, 1); }
void OnWarning(png_structp, png_const_charp) {}

// libpng's objects, freed on every path.
struct Reader {
  Reader() : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, OnError, OnWarning)) {
    if (png != nullptr) info = png_create_info_struct(png);
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  png_structp png = nullptr;
  png_infop info = nullptr;
};

// Compressed chunks beside the pixels are skipped unread: they may unpack to anything.
void SkipNotes(png_structp png) {
  constexpr png_byte kNames[] = "iCCP\0zTXt\0iTXt\0tEXt\0sPLT\0eXIf\0hIST\0sCAL\0pCAL";
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, kNames,
                              static_cast<int>(sizeof(kNames) / 5));
  png_set_user_limits(png, media_limits::kInputSideMax, media_limits::kInputSideMax);
  png_set_chunk_cache_max(png, media_limits::kPngChunksMax);
  png_set_chunk_malloc_max(png, media_limits::kPngChunkBytesMax);
}

void AskForRgba(png_structp png, png_infop info) {
  png_set_scale_16(png);
  png_set_expand(png);
  png_set_gray_to_rgb(png);
  png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

// No object with a destructor lives in here: an error jumps out of it.
bool ReadRows(const Reader& reader, Source& source, png_bytep* rows, size_t row_bytes) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_set_read_fn(reader.png, &source, ReadBytes);
  SkipNotes(reader.png);
  png_read_info(reader.png, reader.info);
  AskForRgba(reader.png, reader.info);
  if (png_get_rowbytes(reader.png, reader.info) != row_bytes) return false;
  png_read_image(reader.png, rows);
  png_read_end(reader.png, nullptr);
  return true;
}

}  // namespace

bool IsPng(absl::Span<const uint8_t> bytes) {
  return bytes.size() >= std::size(kSignature) &&
         std::equal(std::begin(kSignature), std::end(kSignature), bytes.begin());
}

absl::StatusOr<Raster> DecodePng(absl::Span<const uint8_t> bytes) {
  absl::StatusOr<Header> header = ReadHeader(bytes);
  if (!header.ok()) return header.status();
  Raster raster{*header, {}};
  const auto row_bytes = static_cast<size_t>(header->width) * 4;
  raster.rgba.resize(row_bytes * static_cast<size_t>(header->height));
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < header->height; ++y) {
    rows.push_back(&raster.rgba[static_cast<size_t>(y) * row_bytes]);
  }
  const Reader reader;
  if (reader.info == nullptr) return absl::ResourceExhaustedError("no memory for a PNG decoder");
  Source source{bytes};
  if (!ReadRows(reader, source, rows.data(), row_bytes)) return Broken("is a damaged PNG");
  return raster;
}

}  // namespace darkroom::media
