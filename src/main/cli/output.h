#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace darkroom::cli {

// What scripts get as the exit code: 0, or the number of the canonical status code (3
// INVALID_ARGUMENT, 5 NOT_FOUND, 8 RESOURCE_EXHAUSTED, 14 UNAVAILABLE, ...), or one of these.
inline constexpr int kExitUsage = 64;         // the command line itself is wrong (EX_USAGE)
inline constexpr int kExitInterrupted = 130;  // ctrl-C, as shells report it

// Results go to standard output, everything else to standard error. With --json each result is one
// JSON object on a line of its own, named as in the protos; errors are such lines on standard
// error.
class Output {
 public:
  explicit Output(bool json) : json_(json) {}

  bool json() const { return json_; }

  void Json(const google::protobuf::Message& message) const;
  void Line(const std::string& line) const;
  // Columns padded to their widest cell; the first row is the header.
  void Table(const std::vector<std::vector<std::string>>& rows) const;
  // To standard error; nothing with --json.
  void Note(const std::string& line) const;
  // Tells the error and returns the exit code for it.
  int Fail(const absl::Status& status) const;

 private:
  const bool json_;
};

// `text` for a terminal: control characters replaced, cut at `characters_max` with an ellipsis.
std::string Printable(const std::string& text, size_t characters_max);

// Text as a JSON string, quotes included.
std::string JsonString(const std::string& text);

}  // namespace darkroom::cli
