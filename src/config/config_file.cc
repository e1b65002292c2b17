#include "config/config_file.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "config/fields.h"
#include "config/limits.h"
#include "google/rpc/error_details.pb.h"
#include "yaml-cpp/yaml.h"

namespace darkroom {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The name that a user wrote, as it may be shown: short and without control characters.
std::string Shown(const std::string& text) {
  std::string shown = text.substr(0, kConfigShownBytesMax);
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return absl::StrCat("\"", shown, shown.size() < text.size() ? "..." : "", "\"");
}

int LineOf(const YAML::Mark& mark) { return mark.line + 1; }

// Fills a DaemonConfig from the tree that yaml-cpp parsed, field by field.
class Reader {
 public:
  explicit Reader(ConfigFile& file) : file_(file) {}

  absl::Status ReadMessage(const YAML::Node& node, const std::string& path, Message& message) {
    if (node.IsNull()) return absl::OkStatus();
    if (!node.IsMap()) {
      return Fail(node, "CONFIG_VALUE_INVALID", path,
                  path.empty() ? "the file must be a map of fields"
                               : absl::StrCat(path, " must be a map of fields"));
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) {
        return Fail(entry.first, "CONFIG_SYNTAX", path, "a field's name must be a word");
      }
      const std::string& name = entry.first.Scalar();
      const std::string field_path = path.empty() ? name : absl::StrCat(path, ".", name);
      const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
      if (field == nullptr) return FailUnknown(entry.first, path, *message.GetDescriptor());
      if (!seen.insert(name).second) {
        return Fail(entry.first, "CONFIG_FIELD_REPEATED", field_path,
                    absl::StrCat(field_path, " is set twice"));
      }
      if (entry.second.IsNull()) continue;
      file_.lines[field_path] = LineOf(entry.first.Mark());
      if (auto status = ReadField(entry.second, field_path, *field, message); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadField(const YAML::Node& node, const std::string& path,
                         const FieldDescriptor& field, Message& message) {
    if (field.is_repeated()) return ReadList(node, path, field, message);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      return ReadMessage(node, path, *message.GetReflection()->MutableMessage(&message, &field));
    }
    return ReadScalar(node, path, field, message);
  }

  // Lists of messages or of text: config.proto has no other.
  absl::Status ReadList(const YAML::Node& node, const std::string& path,
                        const FieldDescriptor& field, Message& message) {
    if (!node.IsSequence()) {
      return Fail(node, "CONFIG_VALUE_INVALID", path, absl::StrCat(path, " must be a list"));
    }
    const size_t entries_max = path == "models" ? kConfigModelsMax : kConfigTenantsMax;
    if (node.size() > entries_max) {
      return Fail(
          node, "CONFIG_OUT_OF_RANGE", path,
          absl::StrCat(path, " has ", node.size(), " entries; it may have up to ", entries_max));
    }
    int index = 0;
    for (const YAML::Node& element : node) {
      const std::string element_path = absl::StrCat(path, "[", index++, "]");
      file_.lines[element_path] = LineOf(element.Mark());
      if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
        if (!element.IsScalar()) return FailNotSingle(element, element_path);
        message.GetReflection()->AddString(&message, &field, element.Scalar());
        continue;
      }
      Message* added = message.GetReflection()->AddMessage(&message, &field);
      if (auto status = ReadMessage(element, element_path, *added); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ReadScalar(const YAML::Node& node, const std::string& path,
                          const FieldDescriptor& field, Message& message) {
    if (!node.IsScalar()) return FailNotSingle(node, path);
    const std::string& text = node.Scalar();
    // yaml-cpp gives a quoted scalar the tag "!", a plain one "?".
    const bool quoted = node.Tag() == "!";
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        message.GetReflection()->SetString(&message, &field, text);
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_BOOL:
        if (quoted || (text != "true" && text != "false")) {
          return Fail(node, "CONFIG_VALUE_INVALID", path,
                      absl::StrCat(path, " is ", Shown(text), "; it must be true or false"));
        }
        message.GetReflection()->SetBool(&message, &field, text == "true");
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return ReadReal(node, path, quoted ? std::string() : text, field, message);
      default:
        return ReadInteger(node, path, quoted ? std::string() : text, field, message);
    }
  }

  absl::Status FailNotSingle(const YAML::Node& node, const std::string& path) {
    return Fail(node, "CONFIG_VALUE_INVALID", path, absl::StrCat(path, " must be a single value"));
  }

  absl::Status ReadInteger(const YAML::Node& node, const std::string& path,
                           const std::string& digits, const FieldDescriptor& field,
                           Message& message) {
    int64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, value);
    if (parsed.ec == std::errc::result_out_of_range) {
      value = digits[0] == '-' ? std::numeric_limits<int64_t>::min()
                               : std::numeric_limits<int64_t>::max();
    } else if (parsed.ec != std::errc() || parsed.ptr != end) {
      return Fail(node, "CONFIG_VALUE_INVALID", path,
                  absl::StrCat(path, " is ", Shown(node.Scalar()), "; it must be a whole number"));
    }
    // Checked here too, and not only when defaults are resolved, so that a number that the field's
    // type cannot hold is refused instead of cut.
    for (const IntegerField& known : IntegerFields()) {
      if (known.path != FieldOf(path)) continue;
      if (auto status = CheckRange(known, value, path); !status.ok()) return AtLine(status, file_);
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
      message.GetReflection()->SetInt32(&message, &field, static_cast<int32_t>(value));
    } else {
      message.GetReflection()->SetInt64(&message, &field, value);
    }
    return absl::OkStatus();
  }

  absl::Status ReadReal(const YAML::Node& node, const std::string& path, const std::string& digits,
                        const FieldDescriptor& field, Message& message) {
    double value = 0;
    const char* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, value);
    if (parsed.ec == std::errc::result_out_of_range && parsed.ptr == end) {
      // Nothing of ours is near the ends of what a double holds.
      value = digits[0] == '-' ? -HUGE_VAL : HUGE_VAL;
    } else if (parsed.ec != std::errc() || parsed.ptr != end) {
      return Fail(node, "CONFIG_VALUE_INVALID", path,
                  absl::StrCat(path, " is ", Shown(node.Scalar()), "; it must be a number"));
    }
    for (const RealField& known : RealFields()) {
      if (known.path != FieldOf(path)) continue;
      if (auto status = CheckRange(known, value, path); !status.ok()) return AtLine(status, file_);
    }
    message.GetReflection()->SetDouble(&message, &field, value);
    return absl::OkStatus();
  }

  absl::Status FailUnknown(const YAML::Node& key, const std::string& path,
                           const Descriptor& known) const {
    std::vector<std::string> names;
    names.reserve(known.field_count());
    for (int i = 0; i < known.field_count(); ++i) names.push_back(known.field(i)->name());
    const auto nearest = NearestNames(key.Scalar(), names, kConfigSuggestionsMax);
    return Fail(key, "CONFIG_FIELD_UNKNOWN", path,
                absl::StrCat("unknown field ", Shown(key.Scalar()),
                             path.empty() ? "" : absl::StrCat(" in ", path), "; nearest: \"",
                             nearest.empty() ? names.front() : nearest.front(), "\""));
  }

  absl::Status Fail(const YAML::Node& node, std::string_view reason, const std::string& path,
                    const std::string& message) const {
    return Error(absl::StatusCode::kInvalidArgument, reason,
                 absl::StrCat(file_.name, ":", LineOf(node.Mark()), ": ", message))
        .Field(path, message);
  }

  ConfigFile& file_;
};

}  // namespace

absl::StatusOr<ConfigFile> ParseConfigFile(std::string_view name, std::string_view text) {
  ConfigFile file;
  file.name = std::string(name);
  const auto fail = [&](std::string_view reason, int line, const std::string& message) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, reason,
                              absl::StrCat(file.name, ":", line, ": ", message)));
  };
  if (text.size() > static_cast<size_t>(kConfigFileBytesMax)) {
    return fail("CONFIG_TOO_LARGE", 1,
                absl::StrCat("the file is larger than ", kConfigFileBytesMax, " bytes"));
  }
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1) {
      return fail("CONFIG_SYNTAX", LineOf(documents[1].Mark()), "only one document is allowed");
    }
    if (documents.size() == 1) {
      if (auto status = Reader(file).ReadMessage(documents[0], "", file.config); !status.ok()) {
        return status;
      }
    }
  } catch (const YAML::Exception& exception) {
    return fail("CONFIG_SYNTAX", LineOf(exception.mark), exception.msg);
  }
  return file;
}

absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text;
  if (stream) {
    // One byte more than is allowed tells a file that is too large without reading all of it.
    text.resize(kConfigFileBytesMax + 1);
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(stream.gcount());
  }
  if (stream.bad() || (stream.fail() && !stream.eof())) {
    return Error(
        errno == EACCES ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kNotFound,
        "CONFIG_UNREADABLE",
        absl::StrCat("cannot read ", path, ": ", std::generic_category().message(errno)));
  }
  return ParseConfigFile(path, text);
}

absl::Status AtLine(const absl::Status& status, const ConfigFile& file) {
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
  google::rpc::BadRequest detail;
  if (!payload || !detail.ParseFromString(std::string(*payload)) ||
      detail.field_violations().empty()) {
    return status;
  }
  const auto line = file.lines.find(detail.field_violations(0).field());
  if (line == file.lines.end()) return status;
  absl::Status placed(status.code(),
                      absl::StrCat(file.name, ":", line->second, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& value) {
    placed.SetPayload(type_url, value);
  });
  return placed;
}

}  // namespace darkroom
