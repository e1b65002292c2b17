#pragma once

#include <cstddef>

namespace darkroom {

// Signals and reports of the engine that wait for the daemon's main thread.
inline constexpr int kWakesMax = 16;

// Descriptors that the daemon asks for: clients' connections, and the pictures of what waits.
inline constexpr int kFilesMax = 65'536;

// Pictures that the command line reads, and those of them that travel inside a request, where two
// must find room beside each other; larger ones are uploaded first. The server has bounds of its
// own.
inline constexpr size_t kPictureFileBytesMax = size_t{256} << 20;
inline constexpr size_t kInlinePictureBytesMax = size_t{3} << 19;

}  // namespace darkroom
