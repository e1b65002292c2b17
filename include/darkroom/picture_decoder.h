#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "darkroom/payload.h"

namespace darkroom {

// What a picture's pixels are wanted for.
enum class PictureUse {
  kCheck,            // only whether it is one: no pixels come back
  kImage,            // u8 [height, width, 3], transparency dropped
  kMaskWhite,        // u8 [height, width]: 255 where it is painted anew, 0 elsewhere; white is
  kMaskBlack,        // black is
  kMaskTransparent,  // less than half opaque is; the picture must have an alpha channel
};

// A picture as uploaded: one frame, turned as it asks to be, colour profile ignored.
struct Picture {
  std::string media_type;  // "image/png", "image/jpeg" or "image/webp", by content
  int32_t width = 0;
  int32_t height = 0;
  bool has_alpha = false;
  Payload pixels;  // as the use says
};

// Decodes what clients upload, outside this process: whatever a file does to its decoder, it costs
// one request an error. Thread-safe; nothing blocks.
class PictureDecoder {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Picture>) &&>;

  virtual ~PictureDecoder() = default;
  // `done` runs exactly once, on a thread of the decoder's, and must not block.
  //
  // INVALID_ARGUMENT: PICTURE_EMPTY, PICTURE_FORMAT_UNKNOWN, PICTURE_BROKEN, PICTURE_TOO_LARGE
  // (from the header, before memory is taken), PICTURE_ANIMATED, MASK_WITHOUT_ALPHA, and
  // PICTURE_REJECTED when decoding crashed or took too long. RESOURCE_EXHAUSTED (DECODER_BUSY).
  // UNAVAILABLE (DECODER_UNAVAILABLE) when no decoder can be started.
  virtual void Decode(Payload bytes, PictureUse use, Done done) = 0;
};

}  // namespace darkroom
