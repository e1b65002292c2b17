#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom {

// A configuration file larger than this is refused unread.
inline constexpr int64_t kConfigFileBytesMax = int64_t{1} << 20;
// Models that one daemon serves.
inline constexpr int kConfigModelsMax = 64;
// Tenants that one daemon knows, and certificates.
inline constexpr int kConfigTenantsMax = 1024;
// Largest port.
inline constexpr int kConfigPortMax = 65'535;
// What an error shows of a wrong value.
inline constexpr size_t kConfigShownBytesMax = 64;
// Suggestions in a "did you mean".
inline constexpr int kConfigSuggestionsMax = 1;

}  // namespace darkroom
