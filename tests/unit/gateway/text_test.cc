#include "gateway/text.h"

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(TextTest, Utf8AtEveryEdgeOfTheStandardsTable) {
  for (const char* valid :
       {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsValidUtf8(valid)) << valid;
  }
  for (const char* broken :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xe1\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xf8\x88\x80\x80\x80", "\xfe", "\xff", "a\xe2\x82"}) {
    EXPECT_FALSE(IsValidUtf8(broken)) << broken;
  }
}

TEST(TextTest, ControlCharacters) {
  for (const char* text : {"\t", "\n", "\r", "\x1b", "\x7f", "a\xc2\x85", "\xc2\x9f"}) {
    EXPECT_TRUE(HasControlCharacter(text));
  }
  EXPECT_TRUE(HasControlCharacter(std::string_view("\0", 1)));
  // U+00A0 is text, and so is a character with 0x85 as its last byte.
  for (const char* text : {"plain", "\xc2\xa0", "\xe2\x82\x85"}) {
    EXPECT_FALSE(HasControlCharacter(text));
  }
}

TEST(TextTest, PrefixSplitsNoCharacter) {
  EXPECT_EQ(Utf8Prefix("abc", 3), "abc");
  EXPECT_EQ(Utf8Prefix("abc", 2), "ab");
  EXPECT_EQ(Utf8Prefix("a\xe6\x97\xa5", 3), "a");
  EXPECT_EQ(Utf8Prefix("\xe6\x97\xa5", 2), "");
}

TEST(TextTest, QuotesSafely) {
  EXPECT_EQ(Quoted("caf\xc3\xa9", 40), "\"caf\xc3\xa9\"");
  EXPECT_EQ(Quoted("say \"hi\"", 40), "\"say \\\"hi\\\"\"");
  EXPECT_EQ(Quoted("\x1b[31m\n", 40), "\"\\x1b[31m\\n\"");
  EXPECT_EQ(Quoted("abcdef", 3), "\"abc...\"");
  EXPECT_TRUE(IsValidUtf8(Quoted("\xff\xfe", 40)));
}

}  // namespace
}  // namespace darkroom
