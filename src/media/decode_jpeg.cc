// JPEG by libjpeg-turbo (ISO/IEC 10918-1; Exif in an APP1 segment).

#include <algorithm>
#include <csetjmp>
#include <cstdio>
// After cstdio, whose FILE it uses without including it.
#include <jerror.h>
#include <jpeglib.h>

#include "media/exif.h"
#include "media/limits.h"
#include "media/picture_formats.h"

namespace darkroom::media {
namespace {

// libjpeg's callbacks find their state behind its own structures.
struct Errors {
  jpeg_error_mgr base;
  std::jmp_buf escape;
};

[[noreturn]] void OnError(j_common_ptr info) {
  std::longjmp(reinterpret_cast<Errors*>(info->err)->escape, 1);
}

// libjpeg goes on after missing or impossible data and paints grey. What a picture lacks is an
// error here; a byte too many between segments is none.
void OnMessage(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_MUST_RESYNC:
      OnError(info);
    default:
      break;
  }
}

// Every scan of a progressive picture costs a pass over all of it, and takes a few bytes to ask
// for.
void OnProgress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > media_limits::kJpegScansMax) {
    OnError(info);
  }
}

struct Decompressor {
  Decompressor() {
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = OnError;
    errors.base.emit_message = OnMessage;
    errors.base.output_message = [](j_common_ptr) {};
    progress.progress_monitor = OnProgress;
  }
  ~Decompressor() { jpeg_destroy_decompress(&info); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  jpeg_decompress_struct info{};
  Errors errors{};
  jpeg_progress_mgr progress{};
};

// From here on no object with a destructor lives where an error may jump out.
bool ReadHeader(Decompressor& jpeg, absl::Span<const uint8_t> bytes) {
  if (setjmp(jpeg.errors.escape) != 0) return false;
  jpeg_create_decompress(&jpeg.info);
  jpeg.info.progress = &jpeg.progress;
  jpeg_mem_src(&jpeg.info, bytes.data(), bytes.size());
  jpeg_save_markers(&jpeg.info, JPEG_APP0 + 1, media_limits::kJpegSegmentBytesMax);
  return jpeg_read_header(&jpeg.info, TRUE) == JPEG_HEADER_OK;
}

// A writer that leaves an Adobe marker stores CMYK upside down, as all of them do.
void CmykToRgba(uint8_t* row, unsigned width, bool inverted) {
  for (unsigned x = 0; x < width; ++x, row += 4) {
    const unsigned key = inverted ? row[3] : 255u - row[3];
    for (int c = 0; c < 3; ++c) {
      const unsigned ink = inverted ? row[c] : 255u - row[c];
      row[c] = static_cast<uint8_t>((ink * key + 127) / 255);
    }
    row[3] = 255;
  }
}

bool ReadRows(Decompressor& jpeg, uint8_t* rgba) {
  if (setjmp(jpeg.errors.escape) != 0) return false;
  const bool is_cmyk =
      jpeg.info.jpeg_color_space == JCS_CMYK || jpeg.info.jpeg_color_space == JCS_YCCK;
  jpeg.info.out_color_space = is_cmyk ? JCS_CMYK : JCS_EXT_RGBA;
  // diffusers' pictures come from Pillow, which decodes with the slow, exact transform.
  jpeg.info.dct_method = JDCT_ISLOW;
  jpeg_start_decompress(&jpeg.info);
  const size_t row_bytes = size_t{4} * jpeg.info.output_width;
  while (jpeg.info.output_scanline < jpeg.info.output_height) {
    JSAMPROW row = rgba + jpeg.info.output_scanline * row_bytes;
    if (jpeg_read_scanlines(&jpeg.info, &row, 1) != 1) return false;
    if (is_cmyk) CmykToRgba(row, jpeg.info.output_width, jpeg.info.saw_Adobe_marker != 0);
  }
  jpeg_finish_decompress(&jpeg.info);
  return true;
}

int OrientationOf(const jpeg_decompress_struct& info) {
  for (const jpeg_marker_struct* marker = info.marker_list; marker != nullptr;
       marker = marker->next) {
    const int orientation = ExifOrientation({marker->data, marker->data_length});
    if (orientation != 1) return orientation;
  }
  return 1;
}

}  // namespace

bool IsJpeg(absl::Span<const uint8_t> bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

absl::StatusOr<Raster> DecodeJpeg(absl::Span<const uint8_t> bytes) {
  Decompressor jpeg;
  if (!ReadHeader(jpeg, bytes)) return Broken("is a damaged JPEG");
  Raster raster;
  raster.header.width = jpeg.info.image_width;
  raster.header.height = jpeg.info.image_height;
  raster.header.orientation = OrientationOf(jpeg.info);
  absl::Status status = CheckSize(raster.header.width, raster.header.height);
  if (!status.ok()) return status;
  raster.rgba.resize(static_cast<size_t>(raster.header.width * raster.header.height) * 4);
  if (!ReadRows(jpeg, raster.rgba.data())) return Broken("is a damaged or truncated JPEG");
  return raster;
}

}  // namespace darkroom::media
