#pragma once

#include "absl/status/status.h"

namespace darkroom {

// The same bytes for what never was, what was deleted and what is another tenant's.
absl::Status GenerationNotFound();
absl::Status TenantNotFound();
absl::Status AssetNotFound();
absl::Status KeyNotFound();

// The client hung up or its deadline passed; nobody reads it.
absl::Status CallCancelled();

// What a client may see of `status`: errors made by Error pass, with NOT_FOUND of a generation in
// the one form above; anything else (a library's text could hold a path) is logged and becomes
// INTERNAL without its text. OK stays OK.
absl::Status ForClient(const absl::Status& status);

}  // namespace darkroom
