#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace darkroom::store_limits {

// Every bound of this layer.

// How long a request id keeps a repeated call from doing the work twice, at the least.
inline constexpr absl::Duration kRequestIdLifetime = absl::Hours(24);
// A UUID is 36.
inline constexpr size_t kRequestIdBytesMax = 128;
inline constexpr size_t kRequestHashBytesMax = 128;

// A prompt is at most 10 KiB and a generation has at most 16 outputs, so this is never reached by a
// valid one.
inline constexpr size_t kGenerationBytesMax = 256 << 10;
inline constexpr size_t kEventBytesMax = 512 << 10;
// Newest events of one generation that are kept. State changes only, so a generation that is
// requeued over and over reaches it and no other does.
inline constexpr int64_t kEventsPerGenerationMax = 256;

// Generations on one page of a list, as the API has it.
inline constexpr int kPageSizeMax = 1000;
// A page ends early at this size: a client that kept gRPC's default can receive 4 MiB.
inline constexpr size_t kPageBytesMax = 3 << 20;
static_assert(kPageBytesMax + kGenerationBytesMax < 4 << 20, "a page may go one generation beyond");
// What is looked at of a page token; ours are shorter than 128.
inline constexpr size_t kPageTokenBytesMax = 256;

// Pages of SQLite's write-ahead log after which it is copied into the database.
inline constexpr int kWalPagesMax = 2000;
// What the log's file may keep on disk after that.
inline constexpr int64_t kWalBytesMax = 64 << 20;
inline constexpr int64_t kPageCacheBytesMax = 32 << 20;
// Databases up to this size are checked page by page when opened. About 1 s.
inline constexpr int64_t kCheckedAtOpenBytesMax = 256 << 20;

// Writes and reads that may wait for the store thread.
inline constexpr size_t kQueueMax = 16384;
// Writes that share one commit. Bounds how long the first of them waits for the others.
inline constexpr size_t kGroupMax = 512;

// One blob, which is read into memory as a whole.
inline constexpr size_t kBlobBytesMax = 256 << 20;
// Parts of a blob's key, and so the depth of folders.
inline constexpr int kBlobKeyPartsMax = 8;

}  // namespace darkroom::store_limits
