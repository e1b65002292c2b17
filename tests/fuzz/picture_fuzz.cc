// A picture that a client uploads: its decoders and its Exif note.
#include "fuzz/fuzz_target.h"
#include "media/exif.h"
#include "media/picture.h"
#include "testing/pictures.h"

namespace darkroom::fuzz {

void Run(std::string_view bytes) {
  const absl::Span<const uint8_t> span(reinterpret_cast<const uint8_t*>(bytes.data()),
                                       bytes.size());
  const int orientation = ExifOrientation(span);
  Require(orientation >= 1 && orientation <= 8, "an orientation is 1 to 8");
  const auto picture = DecodePicture(span);
  if (!picture.ok()) return;
  const auto pixels = static_cast<size_t>(picture->width) * static_cast<size_t>(picture->height);
  Require(picture->rgba.size() == 4 * pixels, "a picture has its pixels");
  const auto image = PixelsFor(*picture, PictureUse::kImage);
  Require(image.ok() && image->size() == 3 * pixels, "an image has three bytes a pixel");
  const auto mask = PixelsFor(*picture, PictureUse::kMaskTransparent);
  Require(!mask.ok() || mask->size() == pixels, "a mask has a byte a pixel");
}

std::vector<std::string> Seeds() {
  using namespace darkroom::testing;  // NOLINT(google-build-using-namespace): many small makers
  const std::string png = MakePng({});
  return {
      png,
      MakePng({.width = 9, .height = 7, .color_type = PNG_COLOR_TYPE_GRAY_ALPHA, .bits = 16}),
      MakePng({.width = 9, .height = 7, .interlaced = true}),
      MakePng({.width = 4, .height = 4, .color_type = PNG_COLOR_TYPE_GRAY, .bits = 2}),
      WithChunk(png, PngChunk("eXIf", ExifBlock(6).substr(6))),
      WithChunk(png, PngChunk("tEXt", std::string("a\0b", 3))),
      MakeJpeg(17, 9),
      MakeJpeg(17, 9, true, ExifBlock(8, false)),
      MakeJpeg(8, 8, false, {}, true),
      MakeWebp(6, 5, true),
      ExifBlock(3),
  };
}

}  // namespace darkroom::fuzz
