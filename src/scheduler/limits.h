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
// A staged plan is taken back only when it begins no sooner than this, and takes no less: asking
// and planning anew take about a tenth of it.
inline constexpr int64_t kRevisionLeadNs = 1'000'000;
// Replicas whose staged plans one event may find outdated: bounds its time.
inline constexpr int kRevisionReplicasMax = 64;
// Jobs that wait, and replicas, which a forecast plays forward: bounds its time. What waits beyond
// counts by its sum, and more replicas as if these were as many times faster.
inline constexpr int kForecastJobsMax = 128;
inline constexpr int kForecastReplicasMax = 64;
// Jobs ahead that a client is told; beyond, it is told this many.
inline constexpr int64_t kJobsAheadMax = 1000;
// Jobs that one count of how far predictions fell short may hold.
inline constexpr int64_t kCostErrorJobsMax = 1'000'000;
// A tenant's budget, and what may be reserved for it at once, in accelerator time: 36 years of one.
inline constexpr int64_t kBudgetNanosMax = int64_t{1} << 60;
// Fields of a job: denoising steps, their segments, tokens of one step or image.
inline constexpr int32_t kStepsMax = 100'000;
inline constexpr int32_t kSegmentsMax = 4096;
inline constexpr int64_t kTokensMax = int64_t{1} << 40;
// Fields of a replica: slots, and the points of its cost table.
inline constexpr int32_t kSlotsMax = 4096;
inline constexpr size_t kCostPointsMax = 4096;
inline constexpr size_t kReplicaModelsMax = 256;
// Weights that may be loaded, those of one replica at once, and loads under way there.
inline constexpr size_t kWeightsKnownMax = 100'000;
inline constexpr size_t kWeightsResidentMax = 256;
inline constexpr int kLoadsInFlightMax = 2;
inline constexpr int64_t kWeightsBytesMax = int64_t{1} << 50;
inline constexpr int64_t kLoadNanosMax = int64_t{86'400} * 1'000'000'000;
// Weights that jobs wait for, and replicas to load them, which one decision compares, and loads
// that it orders: bounds its time.
inline constexpr int kWantedMax = 32;
inline constexpr int kLoadReplicasMax = 16;
inline constexpr int kLoadsPerDecisionMax = 8;
inline constexpr int kClaimsTriedMax = 4;
// When nothing could be loaded, so long passes until it is tried again without a cause.
inline constexpr int64_t kLookAgainNs = 50'000'000;
// Weights stay for as many times what loading them took, so that at most half of a memory's time is
// loading.
inline constexpr int64_t kStayPerLoad = 1;
// Weights that jobs have waited for this many loads long get their turn, whatever else is there.
inline constexpr int64_t kTurnPerLoad = 8;
// A load that takes this many times what is expected is no longer waited for.
inline constexpr int64_t kOverduePerLoad = 10;
// After so many failures in a row the wait before the next try no longer doubles.
inline constexpr int kLoadFailuresMax = 6;
// Queues of one replica that a decision looks at in full; of more, at a part of each.
inline constexpr int kQueuesInFull = 4;

// Replicas of one gang, and degrees that one is offered at: 2, 4, ... 64.
inline constexpr int32_t kGangMax = 64;
inline constexpr size_t kDegreesMax = 6;

}  // namespace darkroom::scheduler
