#include "main/cli/output.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "client/error_text.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace darkroom::cli {
namespace {

// What the command line calls the fields that the server names.
const std::map<std::string, std::string>& FlagNames() {
  static const auto& names = *new std::map<std::string, std::string>{
      {"model", "--model"},
      {"prompt", "--prompt"},
      {"width", "--size (width)"},
      {"height", "--size (height)"},
      {"num_images", "--num-images"},
      {"sampling.steps", "--steps"},
      {"sampling.seed", "--seed"},
      {"sampling.guidance_scale", "--guidance-scale"},
      {"request_id", "--request-id"},
      {"labels", "--label"},
      {"page_size", "--limit"},
      {"after_sequence", "--after"},
      // The command line sends the init image first.
      {"inputs[0]", "--init"},
      {"inputs[0].data", "--init"},
      {"inputs[1]", "--mask"},
      {"inputs[1].data", "--mask"},
      {"inputs[1].polarity", "--mask-polarity"},
      {"mask_overlay", "--no-overlay"},
      {"negative_prompt", "--negative-prompt"},
      {"sampling.true_cfg_scale", "--true-cfg-scale"},
      {"sampling.sampler", "--sampler"},
      {"sampling.max_sequence_length", "--max-sequence-length"},
      {"sampling.noise_dtype", "--noise-dtype"},
      {"sampling.strength", "--strength"},
      {"preview.every_n_steps", "--preview-every"},
  };
  return names;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  // Fails for a detail of a type this program does not know only; the rest is still worth telling.
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "{}";
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Columns that text takes, as far as one per character goes.
size_t Width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuation(c); }));
}

}  // namespace

void Output::Json(const google::protobuf::Message& message) const { Line(ToJson(message)); }

void Output::Line(const std::string& line) const {
  std::fprintf(stdout, "%s\n", line.c_str());
  std::fflush(stdout);
}

void Output::Table(const std::vector<std::vector<std::string>>& rows) const {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - Width(row[i]) + 2, ' ');
    }
    Line(line);
  }
}

void Output::Note(const std::string& line) const {
  if (!json_) std::fprintf(stderr, "%s\n", line.c_str());
}

int Output::Fail(const absl::Status& status) const {
  if (json_) {
    google::rpc::Status proto = ToProto(status);
    std::string json = ToJson(proto);
    if (json == "{}") {
      proto.clear_details();
      json = ToJson(proto);
    }
    std::fprintf(stderr, "{\"error\":%s}\n", json.c_str());
  } else {
    std::fprintf(stderr, "error: %s\n", ErrorText(status, FlagNames()).c_str());
    if (ErrorReason(status) == "SERVER_UNREACHABLE") {
      std::fprintf(stderr,
                   "Start one with: darkroomd --model DIR\n"
                   "or name another with --server HOST:PORT or DARKROOM_SERVER. "
                   "`darkroom doctor` tells what is missing.\n");
    }
  }
  return static_cast<int>(status.code());
}

std::string Printable(const std::string& text, size_t characters_max) {
  std::string printable;
  size_t characters = 0;
  for (const char c : text) {
    if (!IsContinuation(c) && ++characters > characters_max) return printable + "...";
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    printable += control ? '?' : c;
  }
  return printable;
}

std::string JsonString(const std::string& text) {
  google::protobuf::Value value;
  value.set_string_value(text);
  return ToJson(value);
}

}  // namespace darkroom::cli
