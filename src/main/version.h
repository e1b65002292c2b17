#pragma once

namespace darkroom {

// Semantic version of the programs; CMakeLists.txt holds it.
inline constexpr char kVersion[] = DARKROOM_VERSION;

}  // namespace darkroom
