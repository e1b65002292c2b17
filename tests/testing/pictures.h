#pragma once

#include <png.h>
#include <webp/encode.h>
#include <zlib.h>

#include <cstdint>
#include <cstdio>
// After cstdio, whose FILE it uses.
#include <jpeglib.h>

#include <string>
#include <string_view>

namespace darkroom::testing {

// Pictures for tests, made by the libraries' own encoders: a gradient in which no two pixels are
// alike.

struct PngSpec {
  int width = 5;
  int height = 3;
  int color_type = PNG_COLOR_TYPE_RGB;
  int bits = 8;
  bool interlaced = false;
};

inline void AppendBigEndian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

// One PNG chunk with its checksum.
inline std::string PngChunk(std::string_view type, std::string_view data) {
  std::string body(type);
  body += data;
  std::string chunk;
  AppendBigEndian(chunk, static_cast<uint32_t>(data.size()));
  chunk += body;
  AppendBigEndian(chunk, static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(body.data()),
                                                     static_cast<uInt>(body.size()))));
  return chunk;
}

// `png` with `chunk` behind its header.
inline std::string WithChunk(std::string png, const std::string& chunk) {
  constexpr size_t kHeaderEnd = 8 + 12 + 13;
  return png.insert(kHeaderEnd, chunk);
}

inline std::string MakePng(const PngSpec& spec) {
  std::string out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &out,
      [](png_structp writer, png_bytep data, size_t size) {
        static_cast<std::string*>(png_get_io_ptr(writer))
            ->append(reinterpret_cast<char*>(data), size);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(spec.width),
               static_cast<png_uint_32>(spec.height), spec.bits, spec.color_type,
               spec.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (spec.color_type == PNG_COLOR_TYPE_PALETTE) {
    png_color palette[256];
    for (int i = 0; i < 256; ++i) {
      palette[i] = {static_cast<png_byte>(i), static_cast<png_byte>(255 - i),
                    static_cast<png_byte>(i / 2)};
    }
    png_set_PLTE(png, info, palette, 1 << spec.bits);
  }
  png_write_info(png, info);
  const size_t row_bytes = png_get_rowbytes(png, info);
  const int passes = png_set_interlace_handling(png);
  for (int pass = 0; pass < passes; ++pass) {
    for (int y = 0; y < spec.height; ++y) {
      std::string row(row_bytes, '\0');
      for (size_t i = 0; i < row_bytes; ++i) {
        row[i] = static_cast<char>((static_cast<size_t>(y) * row_bytes + i) * 7 % 251);
      }
      png_write_row(png, reinterpret_cast<png_bytep>(row.data()));
    }
  }
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return out;
}

// `exif`: content of an APP1 segment, or empty. `cmyk`: four inks, as Adobe's programs store them.
inline std::string MakeJpeg(int width, int height, bool progressive = false,
                            std::string_view exif = {}, bool cmyk = false) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int)
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = cmyk ? 4 : 3;
  info.in_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  if (cmyk) info.write_Adobe_marker = TRUE;
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  if (!exif.empty()) {
    jpeg_write_marker(&info, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(exif.data()),
                      static_cast<unsigned>(exif.size()));
  }
  for (int y = 0; y < height; ++y) {
    std::string row(static_cast<size_t>(width) * static_cast<size_t>(info.input_components), '\0');
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = static_cast<char>(y * 255 / height / (i % 3 + 1) + static_cast<int>(i) % 3 * 20);
    }
    auto* pointer = reinterpret_cast<JSAMPROW>(row.data());
    jpeg_write_scanlines(&info, &pointer, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string out(reinterpret_cast<char*>(bytes), size);
  free(bytes);  // NOLINT(cppcoreguidelines-no-malloc): libjpeg's
  return out;
}

inline std::string MakeWebp(int width, int height, bool alpha) {
  std::string rgba(static_cast<size_t>(width) * static_cast<size_t>(height) * 4, '\0');
  for (size_t i = 0; i < rgba.size(); ++i) {
    rgba[i] = static_cast<char>(i % 4 == 3 && !alpha ? 255 : i * 5 % 253);
  }
  uint8_t* bytes = nullptr;
  const size_t size = WebPEncodeLosslessRGBA(reinterpret_cast<const uint8_t*>(rgba.data()), width,
                                             height, width * 4, &bytes);
  std::string out(reinterpret_cast<char*>(bytes), size);
  WebPFree(bytes);
  return out;
}

// An Exif block that says nothing but how to turn the picture.
inline std::string ExifBlock(int orientation, bool little = true) {
  std::string tiff =
      little ? std::string("II*\0\x08\0\0\0\x01\0", 10) : std::string("MM\0*\0\0\0\x08\0\x01", 10);
  tiff += little ? std::string("\x12\x01\x03\0\x01\0\0\0", 8)
                 : std::string("\x01\x12\0\x03\0\0\0\x01", 8);
  if (!little) tiff += '\0';
  tiff += static_cast<char>(orientation);
  tiff += std::string(little ? 3 : 2, '\0');
  return std::string("Exif\0\0", 6) + tiff + std::string(4, '\0');
}

}  // namespace darkroom::testing
