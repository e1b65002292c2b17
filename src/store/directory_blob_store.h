#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "darkroom/blob.h"
#include "store/open_beneath.h"

namespace darkroom {

struct DirectoryBlobStoreOptions {
  // What the kernel can when unset.
  std::optional<PathResolver> resolver;
};

// A BlobStore in a folder of its own, made if missing and held for this process alone. The blob
// "a/b" is the file "a/b.blob", so that "a/b/c" may exist beside it. A blob is written to the
// folder ".partial", synced and moved into place, so that readers see all of it or nothing; what a
// crash left in ".partial" is removed when the store opens.
//
// Blobs above 256 MiB are INVALID_ARGUMENT (BLOB_TOO_LARGE). After a folder failed to sync, Put and
// Delete are UNAVAILABLE (STORE_BROKEN) until a restart, for the reason that GenerationStore gives.
//
// Opening: FAILED_PRECONDITION (STORE_IN_USE, STORE_NOT_WRITABLE), UNAVAILABLE (STORE_BROKEN).
absl::StatusOr<std::unique_ptr<BlobStore>> OpenDirectoryBlobStore(
    const std::string& folder, const DirectoryBlobStoreOptions& options = {});

}  // namespace darkroom
