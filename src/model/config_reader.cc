#include "model/config_reader.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

// Written by diffusers into every config; says where the file came from.
constexpr std::string_view kMetadataFields[] = {
    "_class_name", "_diffusers_version", "_name_or_path", "_use_default_values", "_commit_hash"};

// How a wrong value is shown: bounded, as JSON.
std::string Show(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > model_limits::kShownBytesMax) {
    text = text.substr(0, model_limits::kShownBytesMax) + "...";
  }
  return text;
}

}  // namespace

ConfigReader::ConfigReader(const Json& json, std::string_view file) : json_(json), file_(file) {
  Ignore(kMetadataFields);
}

const Json* ConfigReader::Find(std::string_view field) {
  known_.emplace(field);
  const auto found = json_.find(std::string(field));
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::IsSet(std::string_view field) const {
  const auto found = json_.find(std::string(field));
  return found != json_.end() && !found->is_null();
}

void ConfigReader::Problem(std::string_view field, std::string_view problem) {
  problems_.push_back(absl::StrCat(std::string(field), " ", std::string(problem)));
}

int64_t ConfigReader::Int(std::string_view field, int64_t min, int64_t max,
                          std::optional<int64_t> fallback) {
  const Json* value = Find(field);
  if (value == nullptr) {
    if (!fallback) Problem(field, absl::StrCat("is missing; it must be ", min, " to ", max));
    return fallback.value_or(min);
  }
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX);
  const int64_t number = fits ? value->get<int64_t>() : 0;
  if (!fits || number < min || number > max) {
    Problem(field,
            absl::StrCat("is ", Show(*value), "; it must be an integer from ", min, " to ", max));
    return fallback.value_or(min);
  }
  return number;
}

double ConfigReader::Number(std::string_view field, double min, double max,
                            std::optional<double> fallback) {
  const Json* value = Find(field);
  if (value == nullptr) {
    if (!fallback) Problem(field, absl::StrCat("is missing; it must be ", min, " to ", max));
    return fallback.value_or(min);
  }
  const double number = value->is_number() ? value->get<double>() : NAN;
  // Written so that NaN is outside too.
  if (!(number >= min && number <= max)) {
    Problem(field,
            absl::StrCat("is ", Show(*value), "; it must be a number from ", min, " to ", max));
    return fallback.value_or(min);
  }
  return number;
}

bool ConfigReader::Bool(std::string_view field, bool fallback) {
  const Json* value = Find(field);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Problem(field, absl::StrCat("is ", Show(*value), "; it must be true or false"));
    return fallback;
  }
  return value->get<bool>();
}

std::string ConfigReader::Choice(std::string_view field,
                                 absl::Span<const std::string_view> choices) {
  std::string first(choices.front());
  const Json* value = Find(field);
  if (value == nullptr) return first;
  if (value->is_string()) {
    const auto& text = value->get_ref<const std::string&>();
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return text;
  }
  const auto quote = [](std::string* out, std::string_view choice) {
    absl::StrAppend(out, "\"", std::string(choice), "\"");
  };
  Problem(field, absl::StrCat("is ", Show(*value), ", which is not supported; supported: ",
                              absl::StrJoin(choices, ", ", quote)));
  return first;
}

std::vector<int64_t> ConfigReader::Ints(std::string_view field, int64_t min, int64_t max,
                                        int count_max) {
  const Json* value = Find(field);
  std::vector<int64_t> numbers;
  bool valid = value != nullptr && value->is_array() && !value->empty() &&
               value->size() <= static_cast<size_t>(count_max);
  if (valid) {
    for (const Json& entry : *value) {
      const int64_t number =
          entry.is_number_unsigned() && entry.get<uint64_t>() <= static_cast<uint64_t>(max)
              ? entry.get<int64_t>()
              : min - 1;
      valid = valid && number >= min;
      numbers.push_back(number);
    }
  }
  if (!valid) {
    Problem(field, absl::StrCat("must be a list of 1 to ", count_max, " integers from ", min,
                                " to ", max));
    return {min};
  }
  return numbers;
}

std::vector<std::string> ConfigReader::Strings(std::string_view field, int count_max) {
  const Json* value = Find(field);
  std::vector<std::string> strings;
  bool valid = value != nullptr && value->is_array() && !value->empty() &&
               value->size() <= static_cast<size_t>(count_max);
  if (valid) {
    for (const Json& entry : *value) {
      valid = valid && entry.is_string();
      if (valid) strings.push_back(entry.get<std::string>());
    }
  }
  if (!valid) {
    Problem(field, absl::StrCat("must be a list of 1 to ", count_max, " strings"));
    return {""};
  }
  return strings;
}

const Json* ConfigReader::Object(std::string_view field) {
  const Json* value = Find(field);
  if (value != nullptr && value->is_object()) return value;
  Problem(field, value == nullptr ? "is missing; it must be an object" : "must be an object");
  return nullptr;
}

void ConfigReader::OnlyBool(std::string_view field, bool supported, bool fallback) {
  if (Bool(field, fallback) != supported) {
    Problem(
        field,
        absl::StrCat(IsSet(field) ? "is " : "is absent, which means ", supported ? "false" : "true",
                     ", which is not supported; it must be ", supported ? "true" : "false"));
  }
}

void ConfigReader::OnlyUnset(std::string_view field) {
  if (const Json* value = Find(field)) {
    Problem(field, absl::StrCat("is ", Show(*value), ", which is not supported; it must be null"));
  }
}

void ConfigReader::Ignore(absl::Span<const std::string_view> fields) {
  known_.insert(fields.begin(), fields.end());
}

absl::Status ConfigReader::Finish() {
  for (const auto& [field, value] : json_.items()) {
    if (!known_.contains(field) && !value.is_null()) {
      Problem(field, "is not a known field");
    }
  }
  if (problems_.empty()) return absl::OkStatus();
  return ModelInvalid(file_, absl::StrJoin(problems_, "; "));
}

}  // namespace darkroom
