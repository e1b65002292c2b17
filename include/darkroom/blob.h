#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/payload.h"

namespace darkroom {

// Large immutable bytes: outputs, later inputs and checkpoints. Thread-safe; calls block on disk.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Keys are up to 8 parts of [a-z0-9-]{1,63} joined by '/': "tenants/local/generations/ID/0".
  // INVALID_ARGUMENT for any other.

  // Durable on return; replaces what was there. RESOURCE_EXHAUSTED (DISK_FULL) when the disk is
  // full.
  virtual absl::Status Put(std::string_view key, std::string_view bytes) = 0;
  // NOT_FOUND (BLOB_NOT_FOUND).
  virtual absl::StatusOr<Payload> Get(std::string_view key) = 0;
  // Removes the key and everything below it; OK when there is nothing.
  virtual absl::Status Delete(std::string_view key) = 0;
  // Room left for blobs.
  virtual absl::StatusOr<int64_t> FreeBytes() = 0;
};

}  // namespace darkroom
