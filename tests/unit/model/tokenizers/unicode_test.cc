#include "model/tokenizers/unicode.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;

TEST(UnicodeTest, IsReady) {
  EXPECT_TRUE(UnicodeReady().ok()) << UnicodeReady();
  EXPECT_THAT(UnicodeLibrary(), ::testing::MatchesRegex("icu [0-9]+\\.[0-9]+"));
}

// Table 3-8 of the Unicode Standard, and what else is no UTF-8.
TEST(UnicodeTest, ReplacesEachMaximalPartOfACharacter) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(ValidUtf8("a\u00e9\U0001F469"), "a\u00e9\U0001F469");
  EXPECT_EQ(ValidUtf8(""), "");
  EXPECT_EQ(ValidUtf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(ValidUtf8("\xC0\xAF"), r + r);          // overlong
  EXPECT_EQ(ValidUtf8("\xED\xA0\x80"), r + r + r);  // a surrogate
  EXPECT_EQ(ValidUtf8("\xF5\x80"), r + r);          // beyond U+10FFFF
  EXPECT_EQ(ValidUtf8("\xF0\x9F\x91"), r);          // cut off
  EXPECT_EQ(ValidUtf8(std::string_view("\0", 1)), std::string_view("\0", 1));
}

TEST(UnicodeTest, CodePointsThereAndBack) {
  const std::string text = "a\u00df\u4e2d\U0001F680";
  std::vector<char32_t> points;
  std::string again;
  for (size_t i = 0; i < text.size();) {
    points.push_back(NextCodePoint(text, i));
    AppendCodePoint(points.back(), again);
  }
  EXPECT_THAT(points, ElementsAre(U'a', U'\u00df', U'\u4e2d', U'\U0001F680'));
  EXPECT_EQ(again, text);
}

TEST(UnicodeTest, Properties) {
  for (const char32_t c : {U' ', U'\t', U'\u0085', U'\u00a0', U'\u2003', U'\u2028', U'\u3000'}) {
    EXPECT_TRUE(IsWhiteSpace(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U'a', U'\u200b', U'\ufeff', U'\u2581'}) EXPECT_FALSE(IsWhiteSpace(c));
  EXPECT_TRUE(IsLetter(U'\u4e2d'));
  EXPECT_FALSE(IsLetter(U'\u0301'));
  EXPECT_TRUE(IsNumber(U'\u00bd'));
  EXPECT_TRUE(IsNumber(U'\u0664'));
  EXPECT_FALSE(IsNumber(U'a'));
}

TEST(UnicodeTest, LowerCaseIsFullAndWithoutContext) {
  std::string out;
  for (const char32_t c : {U'A', U'\u0130', U'\u03a3', U'\u1e9e', U'1'}) AppendLowerCase(c, out);
  EXPECT_EQ(out, "ai\u0307\u03c3\u00df1");
}

TEST(UnicodeTest, Composes) {
  EXPECT_EQ(ToNfc("e\u0301"), "\u00e9");
  EXPECT_EQ(ToNfc("\u212b"), "\u00c5");
  EXPECT_EQ(ToNfc("\u1100\u1161"), "\uac00");
  EXPECT_EQ(ToNfc("\ufb01"), "\ufb01");
}

TEST(UnicodeTest, GraphemeClusters) {
  const std::string family = "\U0001F468\u200d\U0001F469\u200d\U0001F467";
  std::vector<std::string> clusters;
  ForEachGrapheme("e\u0301x\r\n" + family,
                  [&](std::string_view cluster) { clusters.emplace_back(cluster); });
  EXPECT_THAT(clusters, ElementsAre("e\u0301", "x", "\r\n", family));
}

}  // namespace
}  // namespace darkroom
