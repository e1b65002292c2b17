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

// A file with a key or a certificate that the command line reads.
inline constexpr size_t kCredentialFileBytesMax = size_t{1} << 20;

// `darkroom eval`: pictures that are generated at once, and bytes of one as the server sends it.
inline constexpr int kEvalInFlightMax = 64;
inline constexpr size_t kEvalPictureBytesMax = size_t{64} << 20;
// The daemon that it starts for itself: until it listens; between the first and the second request
// to stop; until it is killed; between the end of its connections and its own; and bytes of its log
// that an error shows.
inline constexpr int kDaemonStartSecondsMax = 60;
inline constexpr int kDaemonDrainSecondsMax = 2;
inline constexpr int kDaemonStopSecondsMax = 10;
inline constexpr int kDaemonGoneMillisMax = 500;
inline constexpr size_t kDaemonLogShownBytesMax = 2000;

}  // namespace darkroom
