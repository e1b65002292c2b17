#pragma once

#include <cstddef>

namespace darkroom {

// Characters of an id: of a tenant, a generation or a model.
inline constexpr size_t kIdBytesMax = 63;
// Bytes of an unknown name that NearestNames compares with the known ones: bounds its time.
inline constexpr size_t kNearestNameBytesMax = 256;

}  // namespace darkroom
