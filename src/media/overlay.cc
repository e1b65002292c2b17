#include "media/overlay.h"

#include <algorithm>

#include "base/error.h"
#include "media/limits.h"

namespace darkroom {

absl::Status OverlayUnmasked(absl::Span<const uint8_t> init_image, absl::Span<const uint8_t> mask,
                             absl::Span<uint8_t> pixels) {
  if (init_image.size() != pixels.size() || mask.size() * 3 != pixels.size()) {
    return Error(absl::StatusCode::kInternal, "OVERLAY_SIZE_MISMATCH",
                 "the picture, the mask and the picture it began with differ in size");
  }
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] >= media_limits::kMaskPaintedMin) continue;
    std::copy_n(&init_image[3 * i], 3, &pixels[3 * i]);
  }
  return absl::OkStatus();
}

}  // namespace darkroom
