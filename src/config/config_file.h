#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "darkroom/v1/config.pb.h"

namespace darkroom {

// A configuration file as it was written: what it sets, and where.
struct ConfigFile {
  std::string name;
  v1::DaemonConfig config;
  // Path of each field that is set ("models[0].path") -> line, from 1.
  std::map<std::string, int> lines;
};

// YAML or JSON (which is YAML) with the field names of v1::DaemonConfig. A field without a value
// (`store:` and nothing more) is as good as absent. Errors are INVALID_ARGUMENT and begin with
// "name:line: ": CONFIG_SYNTAX, CONFIG_FIELD_UNKNOWN (and the nearest known one),
// CONFIG_FIELD_REPEATED, CONFIG_VALUE_INVALID, CONFIG_OUT_OF_RANGE, CONFIG_TOO_LARGE.
absl::StatusOr<ConfigFile> ParseConfigFile(std::string_view name, std::string_view text);

// Reads and parses. NOT_FOUND or PERMISSION_DENIED (CONFIG_UNREADABLE) when it cannot be read.
absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path);

// `status` with the place of the field it is about, if the file sets that field.
absl::Status AtLine(const absl::Status& status, const ConfigFile& file);

}  // namespace darkroom
