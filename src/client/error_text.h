#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"

namespace darkroom {

// An error as a person wants to read it: what was wrong, the allowed range and the nearest valid
// value, one line for each mistake; the code and reason last.
//
// `names` says what the person calls a field: {"sampling.steps", "--steps"}.
std::string ErrorText(const absl::Status& status, const std::map<std::string, std::string>& names);

}  // namespace darkroom
