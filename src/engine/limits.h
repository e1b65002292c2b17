#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom::engine {

// Calls that wait for the control thread; more are refused with QUEUE_FULL.
inline constexpr int kControlQueueMax = 16384;
// Events that the control thread takes from its queue at once.
inline constexpr int kControlBatchMax = 256;
// When a tenant that has all the generations it may have is told to try again.
inline constexpr int64_t kRetryQueueFullNs = 1'000'000'000;
// The soonest that a client is told to ask again for a guarantee that there was no room for.
inline constexpr int64_t kRetryNoGuaranteeNs = 100'000'000;
// Deadlines that are tried before one is offered in place of one that is refused: one for each
// output and one more.
inline constexpr int kOfferTriesMax = 17;
// Decision logs of earlier starts that are looked at when old ones are deleted.
inline constexpr int kDecisionFilesMax = 10'000;
// The file of measured costs: its bytes, entries, points of one and bytes of a name; and the time
// between two writes of it.
inline constexpr size_t kCostFileBytesMax = size_t{4} << 20;
inline constexpr size_t kCostEntriesMax = 256;
inline constexpr size_t kCostPointsMax = 256;
inline constexpr size_t kCostFieldBytesMax = 200;
inline constexpr int64_t kCostSaveIntervalNs = 60'000'000'000;
// Outputs a generation may ask for.
inline constexpr int kImagesMax = 16;
// Decoded pictures of all generations that wait or run, and what the smallest counts as: each holds
// a descriptor.
inline constexpr int64_t kInputBytesMax = int64_t{1} << 30;
inline constexpr int64_t kInputBytesEachMin = 256 << 10;
// Generations whose pictures are decoded again at once after a restart, and the time until another
// attempt where that could not be done.
inline constexpr int kInputsPreparingMax = 4;
inline constexpr int64_t kInputsRetryNs = 1'000'000'000;
// Changes of assets that wait for their thread.
inline constexpr int kAssetQueueMax = 1024;
// Previews that wait to be encoded; beyond that they are left out.
inline constexpr int kPreviewsQueuedMax = 64;
// A preview on a stream.
inline constexpr size_t kPreviewBytesMax = 1 << 20;
// Plans of one worker: one runs, one is staged.
inline constexpr int kWorkerPlansMax = 2;
// What taking over a started job from another worker counts as, at least: its latents cross the
// daemon. One moves once it has run many times as long (scheduler::kWorkPerMove).
inline constexpr int64_t kMoveNsMin = 20'000'000;
// Threads that encode pictures.
inline constexpr int kMediaThreads = 2;
// A chunk of an output on a stream.
inline constexpr int64_t kOutputChunkBytes = 1 << 20;
// After its stream broke, how long a generation with a request id waits for a retry.
inline constexpr int64_t kAbandonGraceNs = 30'000'000'000;
// A worker that died starts again after this, doubling up to the longest while it keeps failing
// before it is ready.
inline constexpr int64_t kRestartDelayMinNs = 10'000'000;
inline constexpr int64_t kRestartDelayMaxNs = 5'000'000'000;
// A worker that cannot even start this often in a row, and never could, is given up.
inline constexpr int kFailedStartsMax = 3;
// A running plan that takes longer than this many times its prediction, and longer than the floor,
// has hung.
inline constexpr int64_t kHangFactor = 20;
inline constexpr int64_t kHangFloorNs = 30'000'000'000;
// A worker that loads tells how many bytes it has read; then it packs them, for which the largest
// models take a minute or two. One that is silent for longer has hung, and others may wait for what
// it packs.
inline constexpr int64_t kLoadSilenceMaxNs = 300'000'000'000;
// Time between housekeeping rounds.
inline constexpr int64_t kTickNs = 100'000'000;
inline constexpr int64_t kPurgeIntervalNs = 60'000'000'000;
inline constexpr int kPurgeMax = 256;
// Events kept for late watchers of one live generation. Enough for one per output, the ends, and
// dozens of lost workers; beyond that the oldest requeueings are dropped.
inline constexpr int kTopicEventsMax = 128;

}  // namespace darkroom::engine
