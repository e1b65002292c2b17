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

// Jobs that the scheduler holds, waiting and running: beyond, new ones are shed.
inline constexpr size_t kJobsMax = 1'000'000;
// Jobs that wait which one decision looks at, per model: bounds its time.
inline constexpr int kCandidatesMax = 48;
// And as many of them as fill so many batches: some do not fit with others.
inline constexpr int64_t kCandidateBatches = 3;
// A started job moves once it has run this many times as long, since it came, as moving takes: what
// moving costs stays under a thirtieth of all work.
inline constexpr int64_t kWorkPerMove = 32;
// Replicas that are asked for a guarantee before a job is refused it.
inline constexpr int kPlacementTriesMax = 64;
// Jobs that wait, and replicas, which a forecast plays forward: bounds its time. What waits beyond
// counts by its sum, and more replicas as if these were as many times faster.
inline constexpr int kForecastJobsMax = 128;
inline constexpr int kForecastReplicasMax = 64;
// Jobs ahead that a client is told; beyond, it is told this many.
inline constexpr int64_t kJobsAheadMax = 1000;
// Fields of a job: denoising steps, their segments, tokens of one step or image.
inline constexpr int32_t kStepsMax = 100'000;
inline constexpr int32_t kSegmentsMax = 4096;
inline constexpr int64_t kTokensMax = int64_t{1} << 40;
// Fields of a replica: slots, and the points of its cost table.
inline constexpr int32_t kSlotsMax = 4096;
inline constexpr size_t kCostPointsMax = 4096;
inline constexpr size_t kReplicaModelsMax = 256;

// Replicas of one gang, and degrees that one is offered at: 2, 4, ... 64.
inline constexpr int32_t kGangMax = 64;
inline constexpr size_t kDegreesMax = 6;

}  // namespace darkroom::scheduler
