#pragma once

namespace darkroom {

// Signals and reports of the engine that wait for the daemon's main thread.
inline constexpr int kWakesMax = 16;

}  // namespace darkroom
