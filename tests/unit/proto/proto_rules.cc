#include "proto_rules.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.pb.h"

namespace darkroom {
namespace {

namespace pb = google::protobuf;

bool IsUpperCamel(const std::string& name) {
  return !name.empty() && absl::ascii_isupper(name[0]) && !absl::StrContains(name, "_");
}

bool IsLowerSnake(const std::string& name) {
  bool after_underscore = true;  // none at the start, none doubled
  for (const char c : name) {
    if (c == '_' ? after_underscore : !absl::ascii_islower(c) && !absl::ascii_isdigit(c)) {
      return false;
    }
    after_underscore = c == '_';
  }
  return !name.empty() && !after_underscore;
}

// "IsolationLevel" -> "ISOLATION_LEVEL_"
std::string EnumPrefix(const std::string& name) {
  if (name == "DType") return "DTYPE_";  // one word to everybody in the field
  std::string prefix;
  for (const char c : name) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return prefix + "_";
}

template <typename Descriptor>
bool HasComment(const Descriptor& descriptor) {
  pb::SourceLocation location;
  return descriptor.GetSourceLocation(&location) &&
         (!location.leading_comments.empty() || !location.trailing_comments.empty());
}

// The answers that need no ...Response of their own: the resource itself, nothing, or events.
const std::set<std::string>& SharedResponses() {
  static const auto& names = *new std::set<std::string>{
      "darkroom.v1.ApiKey",     "darkroom.v1.Asset",    "darkroom.v1.GenerateEvent",
      "darkroom.v1.Generation", "darkroom.v1.Model",    "darkroom.v1.ServerInfo",
      "darkroom.v1.Tenant",     "google.protobuf.Empty"};
  return names;
}

class Checker {
 public:
  Checker(const pb::FileDescriptor& file, bool public_api) : file_(file), public_api_(public_api) {}

  std::vector<std::string> Run() {
    Expect(file_.package() == "darkroom.v1", file_.name(), "package must be darkroom.v1");
    Expect(absl::StartsWith(file_.name(), "darkroom/v1/"), file_.name(),
           "folder must be the package's");
    Expect(file_.syntax() == pb::FileDescriptor::SYNTAX_PROTO3, file_.name(), "must be proto3");
    for (int i = 0; i < file_.message_type_count(); ++i) Message(*file_.message_type(i));
    for (int i = 0; i < file_.enum_type_count(); ++i) Enum(*file_.enum_type(i));
    for (int i = 0; i < file_.service_count(); ++i) Service(*file_.service(i));
    return std::move(findings_);
  }

 private:
  void Expect(bool condition, const std::string& name, const std::string& rule) {
    if (!condition) findings_.push_back(absl::StrCat(name, ": ", rule));
  }
  template <typename Descriptor>
  void ExpectComment(const Descriptor& descriptor) {
    if (public_api_) Expect(HasComment(descriptor), descriptor.full_name(), "must have a comment");
  }

  void Message(const pb::Descriptor& message) {
    if (message.options().map_entry()) return;
    Expect(IsUpperCamel(message.name()), message.full_name(), "must be UpperCamelCase");
    ExpectComment(message);
    for (int i = 0; i < message.field_count(); ++i) Field(*message.field(i));
    for (int i = 0; i < message.real_oneof_decl_count(); ++i) {
      Expect(IsLowerSnake(message.oneof_decl(i)->name()), message.oneof_decl(i)->full_name(),
             "must be lower_snake_case");
    }
    for (int i = 0; i < message.nested_type_count(); ++i) Message(*message.nested_type(i));
    for (int i = 0; i < message.enum_type_count(); ++i) Enum(*message.enum_type(i));
  }

  void Field(const pb::FieldDescriptor& field) {
    Expect(IsLowerSnake(field.name()), field.full_name(), "must be lower_snake_case");
    // Bytes or assets only: a server that fetches addresses can be sent anywhere.
    Expect(!absl::StrContains(field.name(), "url") && !absl::StrContains(field.name(), "uri"),
           field.full_name(), "must not be an address to fetch");
    // A type of ours is explained at the type.
    const bool typed = field.message_type() != nullptr || field.enum_type() != nullptr;
    const bool own_type = typed && absl::StartsWith(field.message_type() != nullptr
                                                        ? field.message_type()->full_name()
                                                        : field.enum_type()->full_name(),
                                                    "darkroom.");
    if (!own_type && field.name() != "name") ExpectComment(field);
  }

  void Enum(const pb::EnumDescriptor& type) {
    Expect(IsUpperCamel(type.name()), type.full_name(), "must be UpperCamelCase");
    ExpectComment(type);
    const std::string prefix = EnumPrefix(type.name());
    for (int i = 0; i < type.value_count(); ++i) {
      const pb::EnumValueDescriptor& value = *type.value(i);
      Expect(absl::StartsWith(value.name(), prefix) &&
                 value.name() == absl::AsciiStrToUpper(value.name()),
             value.full_name(), absl::StrCat("must be UPPER_SNAKE_CASE beginning with ", prefix));
      if (value.number() != 0) ExpectComment(value);
    }
    const pb::EnumValueDescriptor* zero = type.FindValueByNumber(0);
    Expect(zero != nullptr && zero->name() == prefix + "UNSPECIFIED", type.full_name(),
           absl::StrCat("must have ", prefix, "UNSPECIFIED = 0"));
  }

  void Service(const pb::ServiceDescriptor& service) {
    Expect(IsUpperCamel(service.name()) && absl::EndsWith(service.name(), "Service"),
           service.full_name(), "must be UpperCamelCase ending with Service");
    ExpectComment(service);
    for (int i = 0; i < service.method_count(); ++i) Method(*service.method(i));
  }

  void Method(const pb::MethodDescriptor& method) {
    Expect(IsUpperCamel(method.name()), method.full_name(), "must be UpperCamelCase");
    ExpectComment(method);
    Expect(method.input_type()->name() == method.name() + "Request", method.full_name(),
           absl::StrCat("must take ", method.name(), "Request"));
    const std::string& output = method.output_type()->full_name();
    Expect(method.output_type()->name() == method.name() + "Response" ||
               SharedResponses().contains(output),
           method.full_name(),
           absl::StrCat("must return ", method.name(), "Response or a resource"));
    if (absl::StartsWith(method.name(), "List")) {
      Expect(method.input_type()->FindFieldByName("page_size") != nullptr &&
                 method.input_type()->FindFieldByName("page_token") != nullptr &&
                 method.output_type()->FindFieldByName("next_page_token") != nullptr,
             method.full_name(), "must have page_size, page_token and next_page_token");
    }
    Expect(!method.client_streaming() || method.server_streaming() ||
               absl::StartsWith(method.name(), "Upload"),
           method.full_name(), "must not stream from the client unless it uploads");
  }

  const pb::FileDescriptor& file_;
  const bool public_api_;
  std::vector<std::string> findings_;
};

}  // namespace

std::vector<std::string> ProtoFindings(const pb::FileDescriptor& file, bool public_api) {
  return Checker(file, public_api).Run();
}

}  // namespace darkroom
