#pragma once

#include <string>

#include "absl/status/status.h"
#include "spdlog/spdlog.h"

namespace darkroom {

// Sets up the process's default spdlog logger: standard error, one line an event, control
// characters escaped. `process` names it in every line. `level`: debug, info, warning, error.
// Prompts and outputs are never logged.
absl::Status InitLogging(const std::string& process, const std::string& level, bool json);

}  // namespace darkroom
