#include "model/tokenizers/added_tokens.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

std::string LowerCase(std::string_view text) { return absl::AsciiStrToLower(std::string(text)); }

// "[text]" for texts and "<id>" for tokens.
std::string Split(const std::vector<AddedToken>& tokens, std::string_view text) {
  std::string out;
  AddedTokens(tokens, LowerCase)
      .Split(
          text, LowerCase, [&](int32_t id) { absl::StrAppend(&out, "<", id, ">"); },
          [&](std::string_view rest) { absl::StrAppend(&out, "[", std::string(rest), "]"); });
  return out;
}

TEST(AddedTokensTest, LeftmostThenLongest) {
  const std::vector<AddedToken> tokens = {
      {.content = "<e>", .id = 1}, {.content = "<e>x", .id = 2}, {.content = "e>", .id = 3}};
  EXPECT_EQ(Split(tokens, "a<e>b"), "[a]<1>[b]");
  EXPECT_EQ(Split(tokens, "<e>xe><e>"), "<2><3><1>");
  EXPECT_EQ(Split(tokens, "<e"), "[<e]");
  EXPECT_EQ(Split(tokens, ""), "");
}

TEST(AddedTokensTest, TakesTheSpaceAroundIt) {
  const std::vector<AddedToken> tokens = {
      {.content = "<l>", .id = 1, .strip_left = true},
      {.content = "<r>", .id = 2, .strip_right = true},
      {.content = "<b>", .id = 3, .strip_left = true, .strip_right = true}};
  EXPECT_EQ(Split(tokens, "a \u3000<l> b"), "[a]<1>[ b]");
  EXPECT_EQ(Split(tokens, "a <r> \tb"), "[a ]<2>[b]");
  EXPECT_EQ(Split(tokens, " <b> <b> "), "<3><3>");
  EXPECT_EQ(Split(tokens, "<r> <l>"), "<2><1>");
}

TEST(AddedTokensTest, NormalisedOnesAreFoundInNormalisedText) {
  const std::vector<AddedToken> tokens = {{.content = "<S>", .id = 1, .normalized = true},
                                          {.content = "<E>", .id = 2}};
  EXPECT_EQ(Split(tokens, "A<s>B<S>C"), "[a]<1>[b]<1>[c]");
  EXPECT_EQ(Split(tokens, "A<e>B<E>C"), "[a<e>b]<2>[c]");
}

}  // namespace
}  // namespace darkroom
