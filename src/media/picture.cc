#include "media/picture.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "media/limits.h"
#include "media/picture_formats.h"

namespace darkroom {
namespace media {

absl::Status CheckSize(int64_t width, int64_t height) {
  if (width < 1 || height < 1) return Broken("has no area");
  if (width <= media_limits::kInputSideMax && height <= media_limits::kInputSideMax &&
      width * height <= media_limits::kInputPixelsMax) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kInvalidArgument, "PICTURE_TOO_LARGE",
               absl::StrCat("the picture has ", width, " by ", height, " pixels; at most ",
                            media_limits::kInputSideMax, " a side and ",
                            media_limits::kInputPixelsMax, " in all are taken"));
}

absl::Status Broken(const char* what) {
  return Error(absl::StatusCode::kInvalidArgument, "PICTURE_BROKEN",
               absl::StrCat("the picture ", what));
}

absl::Status Animated() {
  return Error(absl::StatusCode::kInvalidArgument, "PICTURE_ANIMATED",
               "the picture is animated; it must have one frame");
}

}  // namespace media

namespace {

// Where pixel (x, y) of the upright picture lies in the stored one.
size_t StoredIndex(int orientation, int64_t x, int64_t y, int64_t stored_width,
                   int64_t stored_height) {
  const bool swapped = orientation >= 5;
  int64_t u = swapped ? y : x;
  int64_t v = swapped ? x : y;
  const bool mirror_u =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirror_v =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  if (mirror_u) u = stored_width - 1 - u;
  if (mirror_v) v = stored_height - 1 - v;
  return static_cast<size_t>(v * stored_width + u) * 4;
}

RgbaPicture Upright(media::Raster raster, const char* media_type) {
  const media::Header& header = raster.header;
  RgbaPicture picture;
  picture.media_type = media_type;
  picture.has_alpha = header.has_alpha;
  const bool swapped = header.orientation >= 5;
  picture.width = static_cast<int>(swapped ? header.height : header.width);
  picture.height = static_cast<int>(swapped ? header.width : header.height);
  if (header.orientation == 1) {
    picture.rgba = std::move(raster.rgba);
    return picture;
  }
  picture.rgba.resize(raster.rgba.size());
  uint8_t* out = picture.rgba.data();
  for (int64_t y = 0; y < picture.height; ++y) {
    for (int64_t x = 0; x < picture.width; ++x, out += 4) {
      const size_t from = StoredIndex(header.orientation, x, y, header.width, header.height);
      std::memcpy(out, &raster.rgba[from], 4);
    }
  }
  return picture;
}

bool IsPainted(const uint8_t* rgba, PictureUse use) {
  if (use == PictureUse::kMaskTransparent) return rgba[3] < media_limits::kMaskPaintedMin;
  const unsigned luma = (rgba[0] * 19595u + rgba[1] * 38470u + rgba[2] * 7471u + 0x8000u) >> 16;
  return (luma >= media_limits::kMaskPaintedMin) == (use == PictureUse::kMaskWhite);
}

}  // namespace

absl::StatusOr<RgbaPicture> DecodePicture(absl::Span<const uint8_t> bytes) {
  if (bytes.empty()) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, "PICTURE_EMPTY",
                              "the picture is empty; it must be a PNG, JPEG or WebP file"));
  }
  const auto decode = [&](auto&& decoder, const char* media_type) -> absl::StatusOr<RgbaPicture> {
    absl::StatusOr<media::Raster> raster = decoder(bytes);
    if (!raster.ok()) return raster.status();
    return Upright(*std::move(raster), media_type);
  };
  if (media::IsPng(bytes)) return decode(media::DecodePng, "image/png");
  if (media::IsJpeg(bytes)) return decode(media::DecodeJpeg, "image/jpeg");
  if (media::IsWebp(bytes)) return decode(media::DecodeWebp, "image/webp");
  return absl::Status(Error(absl::StatusCode::kInvalidArgument, "PICTURE_FORMAT_UNKNOWN",
                            "the picture is neither PNG nor JPEG nor WebP"));
}

absl::StatusOr<std::string> PixelsFor(const RgbaPicture& picture, PictureUse use) {
  if (use == PictureUse::kCheck) return std::string();
  if (use == PictureUse::kMaskTransparent && !picture.has_alpha) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, "MASK_WITHOUT_ALPHA",
                              "the mask has no alpha channel, so nothing of it is transparent; use "
                              "a picture with one, or say whether white or black is painted"));
  }
  const size_t count = picture.rgba.size() / 4;
  const bool is_mask = use != PictureUse::kImage;
  std::string pixels(count * (is_mask ? 1 : 3), '\0');
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* rgba = &picture.rgba[i * 4];
    if (is_mask) {
      pixels[i] = static_cast<char>(IsPainted(rgba, use) ? 255 : 0);
    } else {
      std::memcpy(&pixels[i * 3], rgba, 3);
    }
  }
  return pixels;
}

}  // namespace darkroom
