#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/limits.h"

namespace darkroom {

// The range and default of a whole-number field of v1::DaemonConfig, as the comments in
// config.proto tell them (a test compares the two).
struct IntegerField {
  std::string_view path;  // "store.retention_hours"
  int64_t min;
  int64_t max;
  std::optional<int64_t> default_value;  // none: told by the machine
};

inline constexpr IntegerField kDrainSeconds{"drain_seconds_max", 0, 86'400, 60};
inline constexpr IntegerField kRetentionHours{"store.retention_hours", 1, 8'760, 24};
inline constexpr IntegerField kFreeBytes{"store.free_bytes_min", int64_t{1} << 20, int64_t{1} << 40,
                                         int64_t{256} << 20};
// Its default is the number of devices.
inline constexpr IntegerField kWorkerCount{"workers.count", 1, 64, std::nullopt};
inline constexpr IntegerField kWorkerThreads{"workers.threads", 1, 256, std::nullopt};
inline constexpr IntegerField kCheckpointSteps{"workers.checkpoint_steps", 1, 1'000, 10};
inline constexpr IntegerField kWorkerSlots{"workers.slots", 1, 256, 32};
inline constexpr IntegerField kStepTokens{"scheduler.step_tokens_max", 1, int64_t{1} << 24,
                                          std::nullopt};
inline constexpr IntegerField kBurstSeconds{"scheduler.burst_seconds", 0, 1'000'000, 1'000};
inline constexpr IntegerField kDecisionLogBytes{"scheduler.decision_log_bytes", 0, int64_t{1} << 40,
                                                0};
inline constexpr IntegerField kQuantumMilliseconds{"scheduler.quantum_milliseconds", 0, 60'000, 50};
inline constexpr IntegerField kQueuedGenerations{"limits.queued_generations_per_tenant", 1,
                                                 1'000'000, 1'000};
inline constexpr IntegerField kCalls{"limits.calls_max", 1, 65'536, 1'024};

inline constexpr IntegerField kAssetRetentionHours{"store.asset_retention_hours", 1, 8'760, 24};
inline constexpr IntegerField kAssetBytes{"limits.asset_bytes_per_tenant", int64_t{1} << 20,
                                          int64_t{1} << 40, int64_t{1} << 30};
inline constexpr IntegerField kUploadBytes{"limits.upload_bytes_max", int64_t{1} << 10,
                                           int64_t{256} << 20, int64_t{32} << 20};

inline constexpr IntegerField kDedicatedWorkers{"tenants[].dedicated_workers", 0, 64, 0};
inline constexpr IntegerField kTenantGenerations{"tenants[].generations_max", 1,
                                                 kTenantGenerationsMax, std::nullopt};
inline constexpr IntegerField kTenantRunning{"tenants[].running_max", 1, kTenantRunningMax,
                                             std::nullopt};
inline constexpr IntegerField kTenantBurst{"tenants[].generations_burst", 1, kTenantBurstMax, 1};
inline constexpr IntegerField kTenantPixels{"tenants[].pixels_max", 1, kTenantPixelsMax,
                                            std::nullopt};
inline constexpr IntegerField kTenantSteps{"tenants[].steps_max", 1, kTenantStepsMax, std::nullopt};
inline constexpr IntegerField kTenantAssetBytes{"tenants[].asset_bytes_max", kTenantAssetBytesMin,
                                                kTenantAssetBytesMax, std::nullopt};

// The same for a field of real numbers.
struct RealField {
  std::string_view path;
  double min;
  double max;
  std::optional<double> default_value;  // none: no such bound
};

inline constexpr RealField kTenantWeight{"tenants[].weight", kTenantWeightMin, kTenantWeightMax, 1};
inline constexpr RealField kTenantRate{"tenants[].generations_per_second", kTenantRateMin,
                                       kTenantRateMax, std::nullopt};
inline constexpr RealField kTenantBudget{"tenants[].budget_seconds", 0, kTenantBudgetSecondsMax,
                                         std::nullopt};

// Every one of them.
absl::Span<const IntegerField> IntegerFields();
absl::Span<const RealField> RealFields();

// INVALID_ARGUMENT (CONFIG_OUT_OF_RANGE) that names the field, its range and the nearest value in
// it. `path` is where the value stands: the field's own, or that of an element of a list
// ("tenants[3].weight"). NaN is out of every range.
absl::Status CheckRange(const IntegerField& field, int64_t value, std::string_view path);
absl::Status CheckRange(const IntegerField& field, int64_t value);
absl::Status CheckRange(const RealField& field, double value, std::string_view path);

// "tenants[].weight" of "tenants[3].weight".
std::string FieldOf(std::string_view path);

}  // namespace darkroom
