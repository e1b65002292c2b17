#pragma once

#include "darkroom/payload.h"

namespace darkroom {

// The pictures that a job starts from, decoded; empty where it has none.
struct JobInputs {
  Payload init_image;  // u8 [height, width, 3], the size of the output
  Payload mask;        // u8 [height, width]: 128 and above is painted anew; only with init_image
};

}  // namespace darkroom
