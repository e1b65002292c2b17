#include "config/fields.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {
namespace {

template <typename T>
absl::Status OutOfRange(const std::string& path, T value, T min, T max, T nearest) {
  const std::string range = absl::StrCat("must be ", min, " to ", max, "; nearest: ", nearest);
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_OUT_OF_RANGE",
               absl::StrCat(path, " is ", value, "; it ", range))
      .Field(path, range);
}

}  // namespace

absl::Span<const IntegerField> IntegerFields() {
  static constexpr IntegerField kFields[] = {kDrainSeconds,        kRetentionHours,
                                             kFreeBytes,           kWorkerCount,
                                             kWorkerThreads,       kCheckpointSteps,
                                             kWorkerSlots,         kStepTokens,
                                             kQueuedGenerations,   kCalls,
                                             kAssetBytes,          kUploadBytes,
                                             kAssetRetentionHours, kDedicatedWorkers,
                                             kTenantGenerations,   kTenantRunning,
                                             kTenantBurst,         kTenantPixels,
                                             kTenantSteps,         kTenantAssetBytes,
                                             kBurstSeconds,        kDecisionLogBytes,
                                             kQuantumMilliseconds};
  return kFields;
}

absl::Span<const RealField> RealFields() {
  static constexpr RealField kFields[] = {kTenantWeight, kTenantRate, kTenantBudget};
  return kFields;
}

absl::Status CheckRange(const IntegerField& field, int64_t value, std::string_view path) {
  if (value >= field.min && value <= field.max) return absl::OkStatus();
  return OutOfRange(std::string(path), value, field.min, field.max,
                    std::clamp(value, field.min, field.max));
}

absl::Status CheckRange(const IntegerField& field, int64_t value) {
  return CheckRange(field, value, field.path);
}

absl::Status CheckRange(const RealField& field, double value, std::string_view path) {
  // Written so that NaN fails; what is nearest to it is the default.
  if (value >= field.min && value <= field.max) return absl::OkStatus();
  const double nearest = value > field.max   ? field.max
                         : value < field.min ? field.min
                                             : field.default_value.value_or(field.min);
  return OutOfRange(std::string(path), value, field.min, field.max, nearest);
}

std::string FieldOf(std::string_view path) {
  std::string field;
  bool inside = false;
  for (const char c : path) {
    if (c == ']') inside = false;
    if (!inside) field += c;
    if (c == '[') inside = true;
  }
  return field;
}

}  // namespace darkroom
