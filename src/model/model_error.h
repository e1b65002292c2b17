#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {

// The model's folder is wrong: INVALID_ARGUMENT, reason MODEL_INVALID. `file` is relative to the
// folder; `problem` is a clause that says what is wrong with it and what would be right.
inline absl::Status ModelInvalid(std::string_view file, std::string_view problem) {
  return Error(absl::StatusCode::kInvalidArgument, "MODEL_INVALID",
               absl::StrCat(std::string(file), ": ", std::string(problem)));
}

}  // namespace darkroom
