#include "config/fields.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <regex>
#include <sstream>
#include <string>

#include "absl/strings/str_replace.h"
#include "config/config.h"
#include "config/config_file.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"

// config.proto tells users the range and default of every field; the code enforces them and
// docs/configuration.md repeats them. These tests hold the three together.
namespace darkroom {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;

constexpr char kReference[] = DARKROOM_SOURCE_DIR "/docs/configuration.md";
constexpr char kBegin[] = "<!-- fields: begin -->\n";
constexpr char kEnd[] = "<!-- fields: end -->\n";

std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  EXPECT_TRUE(stream.good()) << path;
  return text.str();
}

struct Field {
  const FieldDescriptor* descriptor;
  std::string comment;  // in one line
};

// Every field that holds a value, by path ("models[].path"), in the order of the proto.
class Fields {
 public:
  Fields() {
    google::protobuf::FileDescriptorSet set;
    EXPECT_TRUE(set.ParseFromString(ReadFile(DARKROOM_DESCRIPTORS)));
    for (const auto& file : set.file()) EXPECT_NE(pool_.BuildFile(file), nullptr) << file.name();
    Add(*pool_.FindMessageTypeByName("darkroom.v1.DaemonConfig"), "");
  }
  const std::vector<std::pair<std::string, Field>>& all() const { return all_; }

 private:
  void Add(const Descriptor& message, const std::string& prefix) {
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor* field = message.field(i);
      const std::string path = prefix + field->name() + (field->is_repeated() ? "[]" : "");
      if (field->message_type() != nullptr) {
        Add(*field->message_type(), path + ".");
        continue;
      }
      google::protobuf::SourceLocation location;
      EXPECT_TRUE(field->GetSourceLocation(&location));
      std::string comment = absl::StrReplaceAll(location.leading_comments, {{"\n", ""}});
      if (!comment.empty() && comment.front() == ' ') comment.erase(0, 1);
      all_.emplace_back(path, Field{field, comment});
    }
  }

  DescriptorPool pool_;
  std::vector<std::pair<std::string, Field>> all_;
};

// "8,760", "256 MiB", "2^24", "0.001"
constexpr char kNumber[] = R"((\d[\d,]*(?:\.\d+)?(?:\^\d+)?(?: [KMGT]iB)?))";

int64_t ParseNumber(const std::string& text) {
  const std::string digits = absl::StrReplaceAll(text, {{",", ""}});
  const int64_t value = std::stoll(digits);
  if (const size_t caret = digits.find('^'); caret != std::string::npos) {
    EXPECT_EQ(value, 2);
    return int64_t{1} << std::stoi(digits.substr(caret + 1));
  }
  const std::map<std::string, int> shifts = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
  for (const auto& [unit, shift] : shifts) {
    if (digits.find(unit) != std::string::npos) return value << shift;
  }
  return value;
}

TEST(FieldsTest, EveryNumberHasTheRangeAndDefaultThatItsCommentTells) {
  std::map<std::string, const IntegerField*> known;
  for (const IntegerField& field : IntegerFields()) known[std::string(field.path)] = &field;
  const Fields fields;
  for (const auto& [path, field] : fields.all()) {
    const auto type = field.descriptor->cpp_type();
    if (type == FieldDescriptor::CPPTYPE_STRING || type == FieldDescriptor::CPPTYPE_BOOL ||
        type == FieldDescriptor::CPPTYPE_DOUBLE) {
      continue;
    }
    ASSERT_TRUE(known.contains(path)) << path << " has no range in src/config/fields.h";
    const IntegerField& integer = *known[path];
    known.erase(path);

    std::smatch match;
    ASSERT_TRUE(std::regex_search(field.comment, match,
                                  std::regex(std::string(kNumber) + " to " + kNumber)))
        << path << " tells no range: " << field.comment;
    EXPECT_EQ(integer.min, ParseNumber(match[1])) << path;
    EXPECT_EQ(integer.max, ParseNumber(match[2])) << path;
    EXPECT_TRUE(field.descriptor->has_presence()) << path << " must be optional";

    ASSERT_THAT(field.comment, ::testing::HasSubstr("Default")) << path;
    const bool fixed =
        std::regex_search(field.comment, match, std::regex(std::string("Default ") + kNumber));
    ASSERT_EQ(integer.default_value.has_value(), fixed) << path << ": " << field.comment;
    if (fixed) {
      EXPECT_EQ(*integer.default_value, ParseNumber(match[1])) << path;
      EXPECT_TRUE(CheckRange(integer, *integer.default_value).ok()) << path;
    }
  }
  for (const auto& [path, field] : known) ADD_FAILURE() << path << " is not in config.proto";
}

TEST(FieldsTest, EveryRealNumberHasTheRangeAndDefaultThatItsCommentTells) {
  std::map<std::string, const RealField*> known;
  for (const RealField& field : RealFields()) known[std::string(field.path)] = &field;
  const Fields fields;
  for (const auto& [path, field] : fields.all()) {
    if (field.descriptor->cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE) continue;
    ASSERT_TRUE(known.contains(path)) << path << " has no range in src/config/fields.h";
    const RealField& real = *known[path];
    known.erase(path);
    const auto number = [](const std::string& text) {
      return std::stod(absl::StrReplaceAll(text, {{",", ""}}));
    };
    std::smatch match;
    ASSERT_TRUE(std::regex_search(field.comment, match,
                                  std::regex(std::string(kNumber) + " to " + kNumber)))
        << path << " tells no range: " << field.comment;
    EXPECT_EQ(real.min, number(match[1])) << path;
    EXPECT_EQ(real.max, number(match[2])) << path;
    EXPECT_TRUE(field.descriptor->has_presence()) << path << " must be optional";
    const bool fixed =
        std::regex_search(field.comment, match, std::regex(std::string("Default ") + kNumber));
    ASSERT_EQ(real.default_value.has_value(), fixed) << path << ": " << field.comment;
    if (fixed) {
      EXPECT_EQ(*real.default_value, number(match[1])) << path;
    }
  }
  for (const auto& [path, field] : known) ADD_FAILURE() << path << " is not in config.proto";
}

TEST(FieldsTest, NaNIsInNoRange) {
  for (const RealField& field : RealFields()) {
    EXPECT_TRUE(CheckRange(field, field.min, field.path).ok());
    EXPECT_TRUE(CheckRange(field, field.max, field.path).ok());
    for (const double bad :
         {std::nan(""), -HUGE_VAL, HUGE_VAL, field.min - 0.0005, -1.0, field.max * 1.01}) {
      EXPECT_FALSE(CheckRange(field, bad, field.path).ok()) << field.path << " " << bad;
    }
  }
}

TEST(FieldsTest, AnElementsPathLeadsToItsField) {
  EXPECT_EQ(FieldOf("tenants[31].weight"), "tenants[].weight");
  EXPECT_EQ(FieldOf("store.path"), "store.path");
}

TEST(FieldsTest, RangesIncludeTheirEnds) {
  for (const IntegerField& field : IntegerFields()) {
    EXPECT_TRUE(CheckRange(field, field.min).ok());
    EXPECT_TRUE(CheckRange(field, field.max).ok());
    EXPECT_FALSE(CheckRange(field, field.min - 1).ok());
    EXPECT_FALSE(CheckRange(field, field.max + 1).ok());
  }
}

std::string TypeName(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "number";
    default:
      return "whole number";
  }
}

TEST(FieldsTest, TheReferenceRepeatsTheProto) {
  std::string table = "| field | type | meaning |\n|---|---|---|\n";
  const Fields fields;
  for (const auto& [path, field] : fields.all()) {
    EXPECT_NE(field.comment, "") << path << " is not documented in config.proto";
    table += "| `" + path + "` | " + TypeName(*field.descriptor) + " | " +
             absl::StrReplaceAll(field.comment, {{"|", "\\|"}}) + " |\n";
  }
  const std::string text = ReadFile(kReference);
  ASSERT_NE(text.find(kBegin), std::string::npos);
  ASSERT_NE(text.find(kEnd), std::string::npos);
  const size_t begin = text.find(kBegin) + sizeof(kBegin) - 1;
  const size_t end = text.find(kEnd);
  if (std::getenv("DARKROOM_UPDATE_REFERENCE") != nullptr) {
    std::ofstream(kReference) << text.substr(0, begin) << table << text.substr(end);
  }
  EXPECT_EQ(text.substr(begin, end - begin), table)
      << "DARKROOM_UPDATE_REFERENCE=1 config_test rewrites docs/configuration.md";
}

TEST(FieldsTest, TheExampleOfTheReferenceSetsEveryField) {
  const std::string text = ReadFile(kReference);
  const std::string fence = "```yaml\n";
  const size_t begin = text.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const std::string example = text.substr(
      begin + fence.size(), text.find("```", begin + fence.size()) - begin - fence.size());
  const auto file = ParseConfigFile("example", example);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto config = ResolveConfig(file->config, Environment());
  EXPECT_TRUE(config.ok()) << config.status();
  const Fields fields;
  for (const auto& [path, field] : fields.all()) {
    EXPECT_TRUE(file->lines.contains(absl::StrReplaceAll(path, {{"[]", "[0]"}}))) << path;
  }
}

}  // namespace
}  // namespace darkroom
