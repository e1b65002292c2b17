#pragma once

#include <cstdint>

namespace darkroom {

// Version of worker.proto and of the framing below it. The daemon refuses a worker whose Hello says
// any other: both come from one release.
inline constexpr uint32_t kWorkerProtocolVersion = 1;

// Where a started worker finds its end of the connection.
inline constexpr int kWorkerSocketFd = 3;

}  // namespace darkroom
