#include "model/json.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/limits.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

std::string Problem(const std::string& text) {
  const absl::StatusOr<Json> json = ParseJsonObject(text, "a/config.json");
  if (json.ok()) return "";
  EXPECT_EQ(ErrorReason(json.status()), "MODEL_INVALID");
  return std::string(json.status().message());
}

TEST(JsonTest, KeepsTheOrderOfKeys) {
  const absl::StatusOr<Json> json = ParseJsonObject(R"({"b": 1, "a": {"d": [2], "c": null}})", "x");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->dump(), R"({"b":1,"a":{"d":[2],"c":null}})");
}

TEST(JsonTest, RefusesWhatIsNoPlainObject) {
  for (const char* text : {"", "[]", "1", "null", "{", "{}x", "{\"a\":}", "{} // no",
                           "{\"a\":\"\xff\"}", "{'a':1}", "{\"a\":NaN}"}) {
    EXPECT_THAT(Problem(text), HasSubstr("a/config.json")) << text;
  }
}

TEST(JsonTest, RefusesDuplicateKeysAtAnyDepth) {
  EXPECT_THAT(Problem(R"({"a":1,"a":1})"), HasSubstr("key \"a\" occurs twice"));
  EXPECT_THAT(Problem(R"({"x":[{"b":1,"c":{},"b":2}]})"), HasSubstr("key \"b\" occurs twice"));
  // The same name in different objects is fine.
  EXPECT_EQ(Problem(R"({"a":{"a":{"b":1}},"b":{"a":1}})"), "");
}

TEST(JsonTest, BoundsNesting) {
  const auto nested = [](int depth) {
    return absl::StrCat("{\"a\":", std::string(static_cast<size_t>(depth), '['),
                        std::string(static_cast<size_t>(depth), ']'), "}");
  };
  EXPECT_EQ(Problem(nested(model_limits::kJsonDepthMax - 1)), "");
  EXPECT_THAT(Problem(nested(model_limits::kJsonDepthMax + 1)), HasSubstr("nested deeper"));
  EXPECT_NE(Problem(std::string(1 << 20, '[')), "");
}

}  // namespace
}  // namespace darkroom
