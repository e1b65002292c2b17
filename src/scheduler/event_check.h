#pragma once

#include "absl/status/status.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// INVALID_ARGUMENT when a field of the event is out of range: TENANT_WEIGHT_INVALID (0, negative,
// infinite or not a number), TENANT_LIMITS_INVALID, JOB_INVALID (steps, segments, tokens or
// stages), REPLICA_INVALID (slots, token budget, quantum, models). The scheduler
// leaves such an event without effect.
absl::Status CheckEvent(const Event& event);

}  // namespace darkroom::scheduler
