#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace darkroom {

// Puts the init image's own pixels back wherever the mask keeps them: where it is below 128. The
// edge is the mask's own pixel edge, without blending, so that what was to be kept is kept exactly.
//
// `pixels` and `init_image`: u8 [height, width, 3]; `mask`: u8 [height, width]. INTERNAL
// (OVERLAY_SIZE_MISMATCH) when their sizes do not agree; nothing is changed then.
absl::Status OverlayUnmasked(absl::Span<const uint8_t> init_image, absl::Span<const uint8_t> mask,
                             absl::Span<uint8_t> pixels);

}  // namespace darkroom
