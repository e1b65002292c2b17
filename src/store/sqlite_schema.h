#pragma once

#include "absl/status/status.h"
#include "store/sqlite_connection.h"

namespace darkroom {

// Makes the database ours: refuses a foreign or newer one, starts the write-ahead log, then brings
// the schema to the version that this program knows, all in one transaction.
//
// FAILED_PRECONDITION (STORE_FOREIGN): it was made by another program.
// FAILED_PRECONDITION (STORE_VERSION_UNSUPPORTED): it was made by a newer Darkroom. DATA_LOSS
// (STORE_CORRUPT): its pages are damaged.
absl::Status PrepareSchema(SqliteConnection& connection);

}  // namespace darkroom
