#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom {

// Slots of one worker.
inline constexpr int kWorkerSlotsMax = 1024;

// Jobs of one plan.
inline constexpr int kWorkerPlanJobsMax = 256;

// Plans received and not finished. The daemon keeps a few in flight (two; pipeline degree plus
// one), so that more mean a daemon gone wrong, and the worker ends.
inline constexpr size_t kPlansQueuedMax = 64;

// Commands of every kind that wait for the executor. Cancellation is quick, so slots may be opened
// and closed many times while one long step runs.
inline constexpr size_t kCommandsQueuedMax = 4096;

// Denoising steps of one job.
inline constexpr int kSlotStepsMax = 1000;

// Sides of a picture that comes with a job, and of a preview.
inline constexpr int kSlotInputSideMax = 8192;
inline constexpr int kPreviewSideMin = 16;
inline constexpr int kPreviewSideMax = 512;

// UTF-8 bytes of a prompt, negative ones too.
inline constexpr size_t kSlotPromptBytesMax = 10'240;

// Adapters of one job.
inline constexpr int kJobAdaptersMax = 8;

// Between two LoadProgress messages.
inline constexpr int64_t kLoadProgressIntervalNanos = 50'000'000;

// Points of the cost curve measured while loading, and the time they may take in all.
inline constexpr int kCostPointsMax = 16;
inline constexpr int64_t kCostProbeNanosMax = 800'000'000;

}  // namespace darkroom
