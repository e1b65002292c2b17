#pragma once

#include <cstddef>
#include <cstdint>

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

// What a tenant may be given, in the configuration and over the API alike.
inline constexpr double kTenantWeightMin = 0.001;
inline constexpr double kTenantWeightMax = 1e6;
inline constexpr double kTenantRateMin = 0.001;
inline constexpr double kTenantRateMax = 1e6;
inline constexpr int64_t kTenantGenerationsMax = 1'000'000;
inline constexpr int64_t kTenantRunningMax = 16'384;
inline constexpr int64_t kTenantBurstMax = 1'000'000;
inline constexpr int64_t kTenantPixelsMax = int64_t{1} << 30;
inline constexpr int64_t kTenantStepsMax = 1'000;
inline constexpr int64_t kTenantAssetBytesMin = int64_t{1} << 20;
inline constexpr int64_t kTenantAssetBytesMax = int64_t{1} << 40;
inline constexpr double kTenantBudgetSecondsMax = 1e9;
inline constexpr int kTenantModelsMax = 64;
inline constexpr int kTenantTitleBytesMax = 256;

}  // namespace darkroom
