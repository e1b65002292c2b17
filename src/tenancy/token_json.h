#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace darkroom {

// A JSON object whose members are each there once, nested at most kJsonDepthMax deep, in UTF-8;
// nothing for any other text. Two members of one name mean different things to different readers.
std::optional<nlohmann::json> ParseTokenJson(std::string_view text);

// A member that is text; null when there is none or it is something else. Lives as `object` does.
const std::string* TextMember(const nlohmann::json& object, const char* name);

}  // namespace darkroom
