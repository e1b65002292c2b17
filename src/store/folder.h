#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace darkroom {

// The folders that stores live in. Errors of this header are for whoever starts the server; they
// name no path, which the caller knows.

// Makes the folder and those above it where they are missing, for this user alone, durably. Returns
// its path without symbolic links. FAILED_PRECONDITION (STORE_NOT_WRITABLE).
absl::StatusOr<std::string> MakeFolder(const std::string& folder);

// Holds the folder for this process until the descriptor is closed, by a lock on the file
// `store.lock` in it, which also says who has it. FAILED_PRECONDITION (STORE_IN_USE) when somebody
// else does, also in the same process.
absl::StatusOr<UniqueFd> LockFolder(const std::string& folder);

// Bytes that this user may still write to the file system of `fd`.
absl::StatusOr<int64_t> FreeBytes(int fd);

// UNAVAILABLE (STORE_BROKEN), or RESOURCE_EXHAUSTED (DISK_FULL) where `error_number` says that; the
// numbers go to the log. `what` was done: "sync a file".
absl::Status FileError(int error_number, const char* what);

}  // namespace darkroom
