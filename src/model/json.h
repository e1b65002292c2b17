#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace darkroom {

// Keeps the order of keys, which decides which of two equal class names wins.
using Json = nlohmann::ordered_json;

// Parses one JSON object strictly: no duplicate keys at any depth, at most kJsonDepthMax levels, no
// comments, valid UTF-8, nothing after it. INVALID_ARGUMENT, reason MODEL_INVALID, naming `file`.
absl::StatusOr<Json> ParseJsonObject(std::string_view text, std::string_view file);

}  // namespace darkroom
