#include "evaluation/rgb_picture.h"

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/error.h"
#include "evaluation/limits.h"
#include "media/picture.h"

namespace darkroom {

using evaluation_limits::kPictureSideMax;

absl::StatusOr<RgbPicture> DecodeRgb(std::string_view bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  const absl::StatusOr<RgbaPicture> decoded =
      DecodePicture(absl::MakeConstSpan(data, bytes.size()));
  if (!decoded.ok()) return decoded.status();
  if (decoded->width > kPictureSideMax || decoded->height > kPictureSideMax) {
    return Error(absl::StatusCode::kInvalidArgument, "PICTURE_TOO_LARGE",
                 absl::StrCat("the picture is ", decoded->width, "x", decoded->height,
                              "; sides may be up to ", kPictureSideMax, " pixels"));
  }
  RgbPicture picture{decoded->width, decoded->height, {}};
  const size_t pixels = decoded->rgba.size() / 4;
  picture.rgb.resize(3 * pixels);
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < 3; ++c) picture.rgb[3 * i + c] = decoded->rgba[4 * i + c];
  }
  return picture;
}

RgbPicture ReducePicture(const RgbPicture& picture, int factor) {
  RgbPicture out{picture.width / factor, picture.height / factor, {}};
  out.rgb.resize(size_t{3} * out.width * out.height);
  const auto area = static_cast<uint32_t>(factor * factor);
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      uint32_t sums[3] = {};
      for (int dy = 0; dy < factor; ++dy) {
        const uint8_t* pixel =
            &picture.rgb[3 * (size_t(y * factor + dy) * picture.width + size_t(x) * factor)];
        for (int i = 0; i < 3 * factor; ++i) sums[i % 3] += pixel[i];
      }
      for (size_t c = 0; c < 3; ++c) {
        out.rgb[3 * (size_t(y) * out.width + x) + c] =
            static_cast<uint8_t>((sums[c] + area / 2) / area);
      }
    }
  }
  return out;
}

}  // namespace darkroom
