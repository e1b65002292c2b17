#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "darkroom/store.h"
#include "store/limits.h"

namespace darkroom {

struct SqliteStoreOptions {
  // Opening is refused below this much free space.
  int64_t free_bytes_min = int64_t{256} << 20;
  // Tells the age of request ids. Must outlive the store.
  const Clock* clock = &Clock::Real();
  // Pages of write-ahead log at which it is copied into the database.
  int wal_pages_max = store_limits::kWalPagesMax;
  // Name of a registered sqlite3_vfs, for tests; empty for the default.
  std::string vfs;
};

// A GenerationStore in the file `darkroom.db` of a folder, which is made if missing: one SQLite
// connection, write-ahead log, synced at every commit. The folder is held for this process alone.
//
// Event numbers, generations and events beyond the bounds of store/limits.h are INVALID_ARGUMENT. A
// page of a list may hold fewer generations than asked for (kPageBytesMax).
//
// FAILED_PRECONDITION (STORE_IN_USE, STORE_FOREIGN, STORE_VERSION_UNSUPPORTED, STORE_NOT_WRITABLE),
// RESOURCE_EXHAUSTED (DISK_FULL), DATA_LOSS (STORE_CORRUPT), UNAVAILABLE (STORE_BROKEN).
absl::StatusOr<std::unique_ptr<GenerationStore>> OpenSqliteStore(
    const std::string& folder, const SqliteStoreOptions& options = {});

}  // namespace darkroom
