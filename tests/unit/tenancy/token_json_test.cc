#include "tenancy/token_json.h"

#include <string>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(ParseTokenJsonTest, TakesObjectsOnly) {
  EXPECT_TRUE(ParseTokenJson(R"({"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]})"));
  for (const char* text : {"", "1", "[]", "null", "{", R"({"a":1}x)", R"({a:1})", R"({"a":NaN})",
                           "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}"}) {
    EXPECT_FALSE(ParseTokenJson(text)) << text;
  }
}

TEST(ParseTokenJsonTest, RefusesAMemberThatIsThereTwice) {
  EXPECT_FALSE(ParseTokenJson(R"({"iss":"good","iss":"bad"})"));
  EXPECT_FALSE(ParseTokenJson(R"({"x":{"a":1,"a":1}})"));
  EXPECT_FALSE(ParseTokenJson(R"({"a":1,"\u0061":2})"));
}

TEST(ParseTokenJsonTest, BoundsNesting) {
  const auto nested = [](int depth) {
    return R"({"a":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_TRUE(ParseTokenJson(nested(10)));
  EXPECT_FALSE(ParseTokenJson(nested(20)));
  EXPECT_FALSE(ParseTokenJson(nested(100'000)));
}

TEST(TextMemberTest, GivesTextAndNothingElse) {
  const auto object = ParseTokenJson(R"({"a":"x","b":1})");
  ASSERT_TRUE(object);
  EXPECT_EQ(*TextMember(*object, "a"), "x");
  EXPECT_EQ(TextMember(*object, "b"), nullptr);
  EXPECT_EQ(TextMember(*object, "c"), nullptr);
}

}  // namespace
}  // namespace darkroom
