#pragma once

#include <cstdint>

namespace darkroom::scheduler {

// Plans a replica may hold at once. A worker holds the one that runs and the one staged behind it;
// the media pool one for each of its threads.
inline constexpr int kPlansInFlightMax = 8;
// Jobs of one plan, whatever the tokens.
inline constexpr int kPlanJobsMax = 256;
// Jobs of one encode plan: tiny work, but a quantum should stay short.
inline constexpr int kEncodeJobsMax = 64;
// Crashes of its worker that one job may be part of at the same step before it is taken for the
// cause. The first may have been a batch-mate's fault; the others it ran alone.
inline constexpr int kCrashesMax = 3;
// And at any steps, for a job that kills its workers now here, now there.
inline constexpr int kCrashesTotalMax = 16;
// Predicted nanoseconds per token where a replica brought no cost table.
inline constexpr int64_t kDefaultNanosPerToken = 1000;

}  // namespace darkroom::scheduler
