#include "model/json.h"

#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

// What the parser does not mind and we do. Called for every event while parsing.
class StrictCheck {
 public:
  bool Accept(int depth, Json::parse_event_t event, const Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
        keys_.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        if (!keys_.empty()) keys_.pop_back();
        break;
      case Json::parse_event_t::key: {
        const std::string& key = parsed.get_ref<const std::string&>();
        if (!keys_.empty() && !keys_.back().insert(key).second && problem_.empty()) {
          problem_ = absl::StrCat("key \"", key, "\" occurs twice");
        }
        break;
      }
      default:
        break;
    }
    if (depth > model_limits::kJsonDepthMax && problem_.empty()) {
      problem_ = absl::StrCat("is nested deeper than ", model_limits::kJsonDepthMax, " levels");
    }
    return problem_.empty();
  }

  const std::string& problem() const { return problem_; }

 private:
  std::vector<absl::flat_hash_set<std::string>> keys_;
  std::string problem_;
};

}  // namespace

absl::StatusOr<Json> ParseJsonObject(std::string_view text, std::string_view file) {
  StrictCheck check;
  Json json = Json::parse(
      text,
      [&check](int depth, Json::parse_event_t event, Json& parsed) {
        return check.Accept(depth, event, parsed);
      },
      /*allow_exceptions=*/false);
  if (!check.problem().empty()) return ModelInvalid(file, check.problem());
  if (json.is_discarded()) return ModelInvalid(file, "is not valid JSON");
  if (!json.is_object()) return ModelInvalid(file, "must be a JSON object");
  return json;
}

}  // namespace darkroom
