#pragma once

#include <cstddef>

namespace darkroom {

// Characters of an id: of a tenant, a generation or a model.
inline constexpr size_t kIdBytesMax = 63;
// Bytes of an unknown name that NearestNames compares with the known ones: bounds its time.
inline constexpr size_t kNearestNameBytesMax = 256;

// GPUs of one machine that can be named.
inline constexpr int kCudaDevicesMax = 64;
// Characters of a device's name that an error repeats.
inline constexpr size_t kDeviceNameShownMax = 32;

// One Payload. As a memfd it is mapped whole by its receiver, so that this also bounds address
// space.
inline constexpr size_t kPayloadBytesMax = size_t{1} << 30;

}  // namespace darkroom
