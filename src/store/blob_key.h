#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace darkroom {

// What every BlobStore decides alike.

// INVALID_ARGUMENT (BLOB_KEY_INVALID) unless the key is 1 to 8 parts of [a-z0-9-]{1,63} joined by
// '/'. Such a key can be no path of its own: no dots, no empty parts, no '/' at either end.
absl::Status CheckBlobKey(std::string_view key);

absl::Status BlobNotFound();

}  // namespace darkroom
