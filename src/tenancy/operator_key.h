#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "darkroom/store.h"
#include "tenancy/key_ring.h"

namespace darkroom {

// A server whose callers must have keys, and where no operator has one yet, could not be given any:
// makes an operator's key, whose text goes into the file `path`, for this process's user alone.
// Nothing when an operator has a key that is active at `now`; true when one was made. Before the
// store's thread starts; `ring` has what the store has.
absl::StatusOr<bool> MakeFirstOperatorKey(GenerationStore& store, KeyRing& ring,
                                          const std::string& path, absl::Time now);

}  // namespace darkroom
