#include "model/tokenizers/chars_map.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizers/sentencepiece_model.h"
#include "testing/flux_fixture.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

// The rules of nmt_nfkc, which T5 has, from a trained model.
std::string PublishedRules() {
  const testing::FluxFixture model("dev");
  std::ifstream file(model.Path("tokenizer_2/spiece.model"), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  return ParseSentencePieceModel(bytes, "spiece.model")->precompiled_charsmap;
}

TEST(CharsMapTest, WithoutRulesTextsStay) {
  EXPECT_EQ(CharsMap().Normalize("\ufb01 \u3000"), "\ufb01 \u3000");
  EXPECT_EQ(CharsMap::Parse("", "spiece.model")->Normalize("\ufb01"), "\ufb01");
}

TEST(CharsMapTest, CompatibilityComposition) {
  const auto map = CharsMap::Parse(PublishedRules(), "spiece.model");
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_EQ(map->Normalize(""), "");
  EXPECT_EQ(map->Normalize("plain text"), "plain text");
  EXPECT_EQ(map->Normalize("\ufb01"), "fi");
  EXPECT_EQ(map->Normalize("e\u0301"), "\u00e9");
  EXPECT_EQ(map->Normalize("\uff21\u2460"), "A1");
  EXPECT_EQ(map->Normalize("a\u3000b\tc"), "a b c");
  // Longer than a whole cluster may be, so that its code points are looked up one by one.
  EXPECT_EQ(map->Normalize("\uff21\u0301\u0301"), "A\u0301\u0301");
}

TEST(CharsMapTest, RefusesWhatIsDamaged) {
  const std::string rules = PublishedRules();
  const auto problem = [](std::string_view bytes) {
    const absl::Status status = CharsMap::Parse(bytes, "spiece.model").status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
    return std::string(status.message());
  };
  EXPECT_THAT(problem("a"), HasSubstr("does not fit"));
  EXPECT_THAT(problem(std::string("\0\0\0\0", 4)), HasSubstr("does not fit"));
  EXPECT_THAT(problem(std::string("\3\0\0\0abc", 7)), HasSubstr("does not fit"));
  EXPECT_THAT(problem(rules.substr(0, 1000)), HasSubstr("does not fit"));
  EXPECT_THAT(problem(rules + "\xFF"), HasSubstr("UTF-8"));
}

}  // namespace
}  // namespace darkroom
