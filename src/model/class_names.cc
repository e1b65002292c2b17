#include "model/class_names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

constexpr std::string_view kFile = "model_index.json";

std::string Trimmed(std::string_view text) {
  return std::string(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
}

}  // namespace

absl::StatusOr<ClassNames> ClassNames::Parse(const Json& model_index, int classes) {
  const auto labels = model_index.find("id2label");
  if (labels == model_index.end() || !labels->is_object() || labels->empty()) {
    return ModelInvalid(kFile,
                        "id2label is missing or empty; it must map class ids to names, "
                        "which are this model's prompts");
  }
  ClassNames result;
  for (const auto& [key, value] : labels->items()) {
    int id = -1;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= classes || absl::StrCat(id) != key) {
      return ModelInvalid(kFile,
                          absl::StrCat("id2label has the key \"", key,
                                       "\"; keys must be class ids from 0 to ", classes - 1));
    }
    const std::string label = value.is_string() ? Trimmed(value.get<std::string>()) : "";
    if (label.empty() || label.size() > model_limits::kClassNameBytesMax) {
      return ModelInvalid(kFile, absl::StrCat("id2label \"", key, "\" must be a name of 1 to ",
                                              model_limits::kClassNameBytesMax, " bytes"));
    }
    result.Add(label, id, /*listed=*/false);
    for (const absl::string_view synonym : absl::StrSplit(label, ',')) {
      result.Add(Trimmed(std::string_view(synonym.data(), synonym.size())), id, /*listed=*/true);
    }
  }
  return result;
}

void ClassNames::Add(std::string_view name, int id, bool listed) {
  if (name.empty()) return;
  const std::string exact(name);
  exact_[exact] = id;
  folded_[absl::AsciiStrToLower(exact)] = id;
  if (listed && listed_.insert(exact).second) names_.push_back(exact);
}

absl::StatusOr<int> ClassNames::Find(std::string_view prompt) const {
  const std::string name = Trimmed(prompt);
  if (const auto found = exact_.find(name); found != exact_.end()) return found->second;
  if (const auto found = folded_.find(absl::AsciiStrToLower(name)); found != folded_.end()) {
    return found->second;
  }
  const auto quote = [](std::string* out, const std::string& nearest) {
    absl::StrAppend(out, "\"", nearest, "\"");
  };
  const std::string nearest =
      absl::StrJoin(NearestNames(name, names_, model_limits::kNearestClasses), ", ", quote);
  const std::string description = absl::StrCat("must be the name of one of the model's ",
                                               names_.size(), " classes; nearest: ", nearest);
  return absl::Status(Error(absl::StatusCode::kInvalidArgument, "CLASS_UNKNOWN",
                            absl::StrCat("prompt ", description))
                          .Field("prompt", description));
}

}  // namespace darkroom
