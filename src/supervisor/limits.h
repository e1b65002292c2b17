#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom {

// From starting a process to its Hello, which comes before it reads any weights.
inline constexpr int64_t kHelloTimeoutNanos = 10'000'000'000;

// From a worker's saying that it ends (a closed connection, a fatal message) to its end.
inline constexpr int64_t kExitTimeoutNanos = 2'000'000'000;

// From SIGKILL to the end of the process, when the pool is destroyed. Longer only while the kernel
// itself holds the process (a driver, a dead network disk); it is then left behind.
inline constexpr int64_t kReapTimeoutNanos = 10'000'000'000;

// From Stop to SIGKILL: a longer grace is cut to this day.
inline constexpr int64_t kStopGraceMsMax = 86'400'000;

// Messages taken from one worker before the others get their turn.
inline constexpr int kMessagesPerTurnMax = 64;

// Messages that a dead worker may have left in its socket, whose buffer holds far less.
inline constexpr int kMessagesAfterDeathMax = 65'536;

// Events taken from the kernel at once.
inline constexpr int kEventsPerWaitMax = 64;

// Processes that decode pictures, pictures that wait for them, and the time that one may take.
inline constexpr int kMediaProcesses = 2;
inline constexpr size_t kMediaQueueMax = 256;
inline constexpr int64_t kMediaTimeoutNanos = 10'000'000'000;
// How soon a decode in progress notices that the pool closes.
inline constexpr int64_t kMediaPollNanos = 200'000'000;
// Largest side that a decoder is believed.
inline constexpr int32_t kMediaSideMax = 8192;

}  // namespace darkroom
