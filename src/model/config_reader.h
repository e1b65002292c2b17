#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/json.h"

namespace darkroom {

// Reads a component's config.json against a closed schema. Every getter names a field that the
// schema knows, checks its type and range, and remembers what is wrong; Finish() then reports all
// problems at once, unknown fields among them: a field that is not understood could change the
// pictures. Absent and null fields take the default that diffusers gives them; getters without a
// default require the field. After an error getters return some value within the range.
class ConfigReader {
 public:
  // `json` must outlive the reader and be an object. `file` is named in messages.
  ConfigReader(const Json& json, std::string_view file);

  int64_t Int(std::string_view field, int64_t min, int64_t max,
              std::optional<int64_t> fallback = std::nullopt);
  double Number(std::string_view field, double min, double max,
                std::optional<double> fallback = std::nullopt);
  bool Bool(std::string_view field, bool fallback);
  // One of `choices`; the fallback is the first.
  std::string Choice(std::string_view field, absl::Span<const std::string_view> choices);
  // Non-empty, at most `count_max` entries.
  std::vector<int64_t> Ints(std::string_view field, int64_t min, int64_t max, int count_max);
  std::vector<std::string> Strings(std::string_view field, int count_max);
  bool IsSet(std::string_view field) const;
  // A configuration inside this one, required; null when it is not there or no object.
  const Json* Object(std::string_view field);

  // Known fields of which one meaning is supported: anything else is refused by name.
  void OnlyBool(std::string_view field, bool supported, bool fallback);
  void OnlyUnset(std::string_view field);
  // Known fields that do not change what is computed.
  void Ignore(absl::Span<const std::string_view> fields);

  // A problem that the caller found.
  void Problem(std::string_view field, std::string_view problem);
  // OK, or every problem in one INVALID_ARGUMENT with reason MODEL_INVALID.
  absl::Status Finish();

 private:
  // The field's value, null when absent; marks the field as known.
  const Json* Find(std::string_view field);

  const Json& json_;
  std::string file_;
  absl::flat_hash_set<std::string> known_;
  std::vector<std::string> problems_;
};

}  // namespace darkroom
