// The released protos against the naming rules, and the rules against files that break them.

#include "proto_rules.h"

#include <fstream>
#include <memory>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::google::protobuf::DescriptorPool;
using ::google::protobuf::FileDescriptor;
using ::google::protobuf::FileDescriptorProto;
using ::google::protobuf::FileDescriptorSet;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ProtoRulesTest, OurProtosFollowThem) {
  std::ifstream file(DARKROOM_DESCRIPTORS, std::ios::binary);
  FileDescriptorSet set;
  ASSERT_TRUE(set.ParseFromIstream(&file));
  DescriptorPool pool;
  int ours = 0;
  for (const FileDescriptorProto& proto : set.file()) {
    const FileDescriptor* built = pool.BuildFile(proto);
    ASSERT_NE(built, nullptr) << proto.name();
    if (!absl::StartsWith(proto.name(), "darkroom/")) continue;
    ++ours;
    // Between the daemon and its workers only.
    const bool internal = proto.name() == "darkroom/v1/worker.proto";
    EXPECT_THAT(ProtoFindings(*built, !internal), IsEmpty()) << proto.name();
  }
  EXPECT_GE(ours, 5);
}

// The findings of a file of darkroom.v1 given in text format. It has no comments.
std::vector<std::string> FindingsOf(const std::string& text, bool public_api = false) {
  FileDescriptorProto proto;
  proto.set_name("darkroom/v1/x.proto");
  proto.set_package("darkroom.v1");
  proto.set_syntax("proto3");
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(text, &proto));
  DescriptorPool pool;
  const FileDescriptor* built = pool.BuildFile(proto);
  EXPECT_NE(built, nullptr);
  return built == nullptr ? std::vector<std::string>() : ProtoFindings(*built, public_api);
}

constexpr char kGood[] = R"(
  message_type { name: "GetXRequest" field { name: "name" number: 1 type: TYPE_STRING } }
  message_type { name: "GetXResponse" }
  enum_type {
    name: "Isolation"
    value { name: "ISOLATION_UNSPECIFIED" number: 0 } value { name: "ISOLATION_FULL" number: 1 }
  }
  service {
    name: "XService"
    method { name: "GetX" input_type: ".darkroom.v1.GetXRequest"
             output_type: ".darkroom.v1.GetXResponse" }
  })";

TEST(ProtoRulesTest, GoodFileHasNoFindings) { EXPECT_THAT(FindingsOf(kGood), IsEmpty()); }

TEST(ProtoRulesTest, EveryRuleFindsWhatBreaksIt) {
  const std::pair<const char*, const char*> kBroken[] = {
      {R"(package: "darkroom.v2")", "package must be darkroom.v1"},
      {R"(name: "other/x.proto")", "folder must be the package's"},
      {R"(syntax: "proto2")", "must be proto3"},
      {R"(message_type { name: "get_x" })", "must be UpperCamelCase"},
      {R"(message_type { name: "X" field { name: "Name" number: 1 type: TYPE_STRING } })",
       "must be lower_snake_case"},
      {R"(message_type { name: "X" field { name: "a__b" number: 1 type: TYPE_STRING } })",
       "must be lower_snake_case"},
      {R"(message_type { name: "X" field { name: "image_url" number: 1 type: TYPE_STRING } })",
       "must not be an address to fetch"},
      {R"(message_type { name: "X" oneof_decl { name: "What" }
           field { name: "a" number: 1 type: TYPE_STRING oneof_index: 0 } })",
       "must be lower_snake_case"},
      {R"(message_type { name: "X" nested_type { name: "y" } })", "must be UpperCamelCase"},
      {R"(enum_type { name: "color" value { name: "COLOR_UNSPECIFIED" number: 0 } })",
       "must be UpperCamelCase"},
      {R"(enum_type { name: "Color" value { name: "COLOR_UNSPECIFIED" number: 0 }
                                    value { name: "RED" number: 1 } })",
       "must be UPPER_SNAKE_CASE beginning with COLOR_"},
      {R"(enum_type { name: "Color" value { name: "COLOR_RED" number: 0 } })",
       "must have COLOR_UNSPECIFIED = 0"},
      {R"(service { name: "Painter" })", "ending with Service"},
      {R"(message_type { name: "X" }
          service { name: "XService" method { name: "GetX" input_type: ".darkroom.v1.X"
                                              output_type: ".darkroom.v1.X" } })",
       "must take GetXRequest"},
      {R"(message_type { name: "GetXRequest" }
          service { name: "XService" method { name: "GetX" input_type: ".darkroom.v1.GetXRequest"
                                              output_type: ".darkroom.v1.GetXRequest" } })",
       "must return GetXResponse"},
      {R"(message_type { name: "ListXRequest" } message_type { name: "ListXResponse" }
          service { name: "XService" method { name: "ListX" input_type: ".darkroom.v1.ListXRequest"
                                              output_type: ".darkroom.v1.ListXResponse" } })",
       "must have page_size"},
      {R"(message_type { name: "PutXRequest" } message_type { name: "PutXResponse" }
          service { name: "XService" method { name: "PutX" input_type: ".darkroom.v1.PutXRequest"
                                              output_type: ".darkroom.v1.PutXResponse"
                                              client_streaming: true } })",
       "must not stream from the client"},
  };
  for (const auto& [text, rule] : kBroken) {
    EXPECT_THAT(FindingsOf(text), Contains(HasSubstr(rule))) << text;
  }
}

TEST(ProtoRulesTest, PublicApiMustBeCommented) {
  EXPECT_THAT(
      FindingsOf(R"(
    message_type {
      name: "X"
      field { name: "size" number: 1 type: TYPE_INT32 }
      field { name: "inner" number: 2 type: TYPE_MESSAGE type_name: ".darkroom.v1.X" }
    }
    enum_type {
      name: "E" value { name: "E_UNSPECIFIED" number: 0 } value { name: "E_ONE" number: 1 }
    }
  )",
                 /*public_api=*/true),
      ElementsAre("darkroom.v1.X: must have a comment", "darkroom.v1.X.size: must have a comment",
                  "darkroom.v1.E: must have a comment", "darkroom.v1.E_ONE: must have a comment"));
}

}  // namespace
}  // namespace darkroom
