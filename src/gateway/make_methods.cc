// Run by the build: writes gateway/methods.h, the table of all methods with the roles that may call
// them, from the protos' descriptors. A method that names no role is an error, so that nothing can
// be served before somebody has said for whom.
//
//   make_methods darkroom.binpb methods.h

#include <fstream>
#include <iostream>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "darkroom/v1/access.pb.h"
#include "google/protobuf/descriptor.pb.h"

namespace {

namespace pb = google::protobuf;
namespace v1 = darkroom::v1;

// "GenerationService" -> "generation_service"
std::string Snake(const std::string& name) {
  std::string snake;
  for (const char c : name) {
    if (absl::ascii_isupper(c) && !snake.empty()) snake += '_';
    snake += absl::ascii_tolower(c);
  }
  return snake;
}

// One constant, or nothing when the method names no role.
std::string Constant(const std::string& service, const pb::MethodDescriptorProto& method) {
  std::vector<std::string> roles;
  for (int i = 0; i < method.options().ExtensionSize(v1::allowed_roles); ++i) {
    const v1::Role role = method.options().GetExtension(v1::allowed_roles, i);
    if (role == v1::ROLE_UNSPECIFIED) return "";
    roles.push_back(absl::StrCat("Roles(v1::", v1::Role_Name(role), ")"));
  }
  if (roles.empty()) return "";
  return absl::StrCat("inline constexpr Method k", method.name(), "{\"", service, "\", \"",
                      method.name(), "\", ", absl::StrJoin(roles, " | "), "};\n");
}

int Make(const std::string& descriptors, const std::string& header) {
  std::ifstream in(descriptors, std::ios::binary);
  pb::FileDescriptorSet set;
  if (!set.ParseFromIstream(&in)) {
    std::cerr << descriptors << " is not a descriptor set\n";
    return 1;
  }
  std::string text =
      "// Made by make_methods.cc from the protos.\n#pragma once\n\n#include "
      "\"gateway/method.h\"\n\nnamespace darkroom::methods {\n";
  std::vector<std::string> all;
  int missing = 0;
  for (const auto& file : set.file()) {
    if (!absl::StartsWith(file.name(), "darkroom/")) continue;
    for (const auto& service : file.service()) {
      const std::string space = Snake(service.name());
      absl::StrAppend(&text, "\nnamespace ", space, " {\n");
      for (const auto& method : service.method()) {
        const std::string constant =
            Constant(absl::StrCat(file.package(), ".", service.name()), method);
        if (constant.empty()) {
          std::cerr << file.name() << ": " << service.name() << "." << method.name()
                    << " does not say who may call it; give it option (allowed_roles)\n";
          ++missing;
        }
        text += constant;
        all.push_back(absl::StrCat("    ", space, "::k", method.name()));
      }
      absl::StrAppend(&text, "}  // namespace ", space, "\n");
    }
  }
  absl::StrAppend(&text, "\n// Every one.\ninline constexpr Method kAll[] = {\n",
                  absl::StrJoin(all, ",\n"), ",\n};\n\n}  // namespace darkroom::methods\n");
  if (missing > 0) return 1;
  std::ofstream(header) << text;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "make_methods DESCRIPTORS HEADER\n";
    return 2;
  }
  return Make(argv[1], argv[2]);
}
