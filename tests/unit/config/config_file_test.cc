#include "config/config_file.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "base/error.h"
#include "config/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

struct Refusal {
  std::string text;
  std::string reason;
  std::string message;
};

TEST(ConfigFileTest, ReadsYaml) {
  const auto file = ParseConfigFile("darkroom.yaml", R"(
models:
  - path: models/emoji
    name: "123"
  - {path: other}
store:
  retention_hours: 48
  free_bytes_min: 2147483648   # more than 32 bits
limits:
log: {json: true}
)");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->config.models_size(), 2);
  EXPECT_EQ(file->config.models(0).path(), "models/emoji");
  EXPECT_EQ(file->config.models(0).name(), "123");
  EXPECT_EQ(file->config.models(1).path(), "other");
  EXPECT_EQ(file->config.store().retention_hours(), 48);
  EXPECT_EQ(file->config.store().free_bytes_min(), 2'147'483'648);
  EXPECT_FALSE(file->config.has_limits()) << "a section without fields is absent";
  EXPECT_TRUE(file->config.log().json());
  EXPECT_THAT(file->lines,
              UnorderedElementsAre(
                  Pair("models", 2), Pair("models[0]", 3), Pair("models[0].path", 3),
                  Pair("models[0].name", 4), Pair("models[1]", 5), Pair("models[1].path", 5),
                  Pair("store", 6), Pair("store.retention_hours", 7),
                  Pair("store.free_bytes_min", 8), Pair("log", 10), Pair("log.json", 10)));
}

TEST(ConfigFileTest, ReadsJsonWithTabs) {
  const auto file = ParseConfigFile("darkroom.json",
                                    "{\n\t\"models\": [\n\t\t{\"path\": \"a\\/b\"}\n\t],\n"
                                    "\t\"drain_seconds_max\": 0\n}\n");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->config.models(0).path(), "a/b");
  EXPECT_TRUE(file->config.has_drain_seconds_max());
  EXPECT_EQ(file->lines.at("drain_seconds_max"), 5);
}

TEST(ConfigFileTest, ReadsListsOfTexts) {
  const auto file =
      ParseConfigFile("x.yaml", "tenants:\n  - name: ada\n    models: [flux, \"1\"]\n");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->config.tenants(0).models_size(), 2);
  EXPECT_EQ(file->config.tenants(0).models(1), "1");
  EXPECT_EQ(file->lines.at("tenants[0].models[1]"), 3);
  for (const char* models : {"{a: b}", "[[a]]", "[{a: b}]", "flux"}) {
    const auto refused =
        ParseConfigFile("x.yaml", std::string("tenants: [{name: ada, models: ") + models + "}]\n");
    EXPECT_EQ(ErrorReason(refused.status()), "CONFIG_VALUE_INVALID") << models;
  }
}

TEST(ConfigFileTest, AnEmptyFileSetsNothing) {
  for (const char* text : {"", "\n", "# nothing\n", "{}", "~"}) {
    const auto file = ParseConfigFile("f", text);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->config.ByteSizeLong(), 0);
  }
}

TEST(ConfigFileTest, RefusalsNameTheLineAndTheNearestValue) {
  const Refusal refusals[] = {
      {"store:\n  retention_hour: 3\n", "CONFIG_FIELD_UNKNOWN",
       R"(f:2: unknown field "retention_hour" in store; nearest: "retention_hours")"},
      {"\nlisten: {}\nstor: {}\n", "CONFIG_FIELD_UNKNOWN",
       R"(f:3: unknown field "stor"; nearest: "store")"},
      {"models:\n  - path: a\n    nam: b\n", "CONFIG_FIELD_UNKNOWN",
       R"(f:3: unknown field "nam" in models[0]; nearest: "name")"},
      {"store: {}\nlog: {}\nstore: {}\n", "CONFIG_FIELD_REPEATED", "f:3: store is set twice"},
      {"store: [1]\n", "CONFIG_VALUE_INVALID", "f:1: store must be a map of fields"},
      {"- 1\n", "CONFIG_VALUE_INVALID", "f:1: the file must be a map of fields"},
      {"models: {path: a}\n", "CONFIG_VALUE_INVALID", "f:1: models must be a list"},
      {"store:\n  path: [a]\n", "CONFIG_VALUE_INVALID", "f:2: store.path must be a single value"},
      {"log:\n  json: yes\n", "CONFIG_VALUE_INVALID",
       R"(f:2: log.json is "yes"; it must be true or false)"},
      {"workers:\n  count: two\n", "CONFIG_VALUE_INVALID",
       R"(f:2: workers.count is "two"; it must be a whole number)"},
      {"workers:\n  count: 2.0\n", "CONFIG_VALUE_INVALID",
       R"(f:2: workers.count is "2.0"; it must be a whole number)"},
      {"workers:\n  count: \"2\"\n", "CONFIG_VALUE_INVALID",
       R"(f:2: workers.count is "2"; it must be a whole number)"},
      {"workers:\n  count: 0\n", "CONFIG_OUT_OF_RANGE",
       "f:2: workers.count is 0; it must be 1 to 64; nearest: 1"},
      {"workers:\n  count: 4294967297\n", "CONFIG_OUT_OF_RANGE",
       "f:2: workers.count is 4294967297; it must be 1 to 64; nearest: 64"},
      {"drain_seconds_max: -99999999999999999999\n", "CONFIG_OUT_OF_RANGE",
       "f:1: drain_seconds_max is -9223372036854775808; it must be 0 to 86400; nearest: 0"},
      {"tenants:\n  - {name: a, weight: 0}\n", "CONFIG_OUT_OF_RANGE",
       "f:2: tenants[0].weight is 0; it must be 0.001 to 1e+06; nearest: 0.001"},
      {"tenants: [{name: a}, {weight: -2.5}]\n", "CONFIG_OUT_OF_RANGE",
       "f:1: tenants[1].weight is -2.5; it must be 0.001 to 1e+06; nearest: 0.001"},
      {"tenants: [{weight: nan}]\n", "CONFIG_OUT_OF_RANGE",
       "f:1: tenants[0].weight is nan; it must be 0.001 to 1e+06; nearest: 1"},
      {"tenants: [{weight: 1e999}]\n", "CONFIG_OUT_OF_RANGE",
       "f:1: tenants[0].weight is inf; it must be 0.001 to 1e+06; nearest: 1e+06"},
      {"tenants: [{weight: heavy}]\n", "CONFIG_VALUE_INVALID",
       R"(f:1: tenants[0].weight is "heavy"; it must be a number)"},
      {"tenants: [{generations_max: 0}]\n", "CONFIG_OUT_OF_RANGE",
       "f:1: tenants[0].generations_max is 0; it must be 1 to 1000000; nearest: 1"},
      {"store: {}\n---\nlog: {}\n", "CONFIG_SYNTAX", "f:3: only one document is allowed"},
      {"models: [\n", "CONFIG_SYNTAX", "f:2: end of sequence flow not found"},
      {"a: \x01\n", "CONFIG_FIELD_UNKNOWN", R"(f:1: unknown field "a")"},
      {"\"a\\u0007b\": 1\n", "CONFIG_FIELD_UNKNOWN", R"(f:1: unknown field "a?b")"},
  };
  for (const Refusal& refusal : refusals) {
    const auto file = ParseConfigFile("f", refusal.text);
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << refusal.text;
    EXPECT_EQ(ErrorReason(file.status()), refusal.reason) << refusal.text;
    EXPECT_THAT(std::string(file.status().message()), ::testing::StartsWith(refusal.message));
  }
}

TEST(ConfigFileTest, IsBounded) {
  EXPECT_EQ(ErrorReason(ParseConfigFile("f", std::string(kConfigFileBytesMax + 1, '#')).status()),
            "CONFIG_TOO_LARGE");
  EXPECT_TRUE(ParseConfigFile("f", std::string(kConfigFileBytesMax, '#')).ok());

  std::string models = "models: [{path: a}";
  for (int i = 0; i < kConfigModelsMax; ++i) models += ", {path: a}";
  EXPECT_EQ(ErrorReason(ParseConfigFile("f", models + "]").status()), "CONFIG_OUT_OF_RANGE");

  std::string tenants = "tenants: [{name: a}";
  for (int i = 1; i < kConfigTenantsMax; ++i) tenants += ", {name: a}";
  EXPECT_TRUE(ParseConfigFile("f", tenants + "]").ok());
  const auto too_many = ParseConfigFile("f", tenants + ", {name: a}]");
  EXPECT_EQ(std::string(too_many.status().message()),
            "f:1: tenants has 1025 entries; it may have up to 1024");

  // Deeper than yaml-cpp's recursion allows, in as few bytes as possible.
  EXPECT_EQ(ErrorReason(ParseConfigFile("f", std::string(kConfigFileBytesMax, '[')).status()),
            "CONFIG_SYNTAX");
}

TEST(ConfigFileTest, ReadsFromDisk) {
  const std::string path =
      ::testing::TempDir() + "config_file_test_" + std::to_string(getpid()) + ".yaml";
  std::ofstream(path) << "log:\n  level: debug\n";
  const auto file = ReadConfigFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->config.log().level(), "debug");
  EXPECT_EQ(file->name, path);
  std::remove(path.c_str());

  const auto missing = ReadConfigFile(path);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(missing.status()), "CONFIG_UNREADABLE");
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("No such file or directory"));
  EXPECT_EQ(ErrorReason(ReadConfigFile(::testing::TempDir()).status()), "CONFIG_UNREADABLE");
}

}  // namespace
}  // namespace darkroom
