#include "config/fields.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {

absl::Span<const IntegerField> IntegerFields() {
  static constexpr IntegerField kFields[] = {
      kDrainSeconds,        kRetentionHours, kFreeBytes,  kWorkerCount,       kWorkerThreads,
      kCheckpointSteps,     kWorkerSlots,    kStepTokens, kQueuedGenerations, kCalls,
      kAssetRetentionHours, kAssetBytes,     kUploadBytes};
  return kFields;
}

absl::Status CheckRange(const IntegerField& field, int64_t value) {
  if (value >= field.min && value <= field.max) return absl::OkStatus();
  const std::string path(field.path);
  const std::string range = absl::StrCat("must be ", field.min, " to ", field.max,
                                         "; nearest: ", std::clamp(value, field.min, field.max));
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_OUT_OF_RANGE",
               absl::StrCat(path, " is ", value, "; it ", range))
      .Field(path, range);
}

}  // namespace darkroom
