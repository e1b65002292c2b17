#include "tenancy/token_json.h"

#include <set>
#include <vector>

#include "tenancy/limits.h"

namespace darkroom {

std::optional<nlohmann::json> ParseTokenJson(std::string_view text) {
  using nlohmann::json;
  bool good = true;
  std::vector<std::set<std::string>> members;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > tenancy_limits::kJsonDepthMax) good = false;
    if (event == json::parse_event_t::object_start) members.emplace_back();
    if (event == json::parse_event_t::object_end) members.pop_back();
    if (event == json::parse_event_t::key &&
        !members.back().insert(parsed.get<std::string>()).second) {
      good = false;
    }
    return good;
  };
  json value = json::parse(text, check, /*allow_exceptions=*/false);
  if (!good || value.is_discarded() || !value.is_object()) return std::nullopt;
  return value;
}

const std::string* TextMember(const nlohmann::json& object, const char* name) {
  const auto it = object.find(name);
  return it == object.end() ? nullptr : it->get_ptr<const std::string*>();
}

}  // namespace darkroom
