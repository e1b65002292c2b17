#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "gateway/call.h"

namespace darkroom {

// OK when `parent`, a request's field `field`, is the caller's own tenant, or empty.
absl::Status CheckParent(const Call& call, std::string_view parent, std::string_view field);

}  // namespace darkroom
