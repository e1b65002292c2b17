#include "model/tokenizers/tokenizer.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/limits.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A token for every byte, then the end.
class Letters : public Tokenizer {
 public:
  explicit Letters(Overflow overflow) : Tokenizer(overflow) {
    pad_id_ = 1000;
    end_id_ = 1001;
  }
  std::vector<int32_t> Encode(std::string_view prompt) const override {
    std::vector<int32_t> ids(prompt.begin(), prompt.end());
    ids.push_back(end_id_);
    return ids;
  }
};

TEST(TokenizerTest, Pads) {
  for (const auto overflow : {Tokenizer::Overflow::kCut, Tokenizer::Overflow::kRefuse}) {
    EXPECT_THAT(*Letters(overflow).EncodeTo("a", 4), ElementsAre('a', 1001, 1000, 1000));
    EXPECT_THAT(*Letters(overflow).EncodeTo("abc", 4), ElementsAre('a', 'b', 'c', 1001));
  }
}

TEST(TokenizerTest, CutsOrRefuses) {
  EXPECT_THAT(*Letters(Tokenizer::Overflow::kCut).EncodeTo("abcde", 4),
              ElementsAre('a', 'b', 'c', 1001));
  const absl::Status status = Letters(Tokenizer::Overflow::kRefuse).EncodeTo("abcde", 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "PROMPT_TOO_LONG");
  EXPECT_THAT(std::string(status.message()), HasSubstr("6 tokens"));
}

TEST(TokenizerTest, BoundsBytes) {
  const std::string longest(model_limits::kPromptBytesMax, 'a');
  const Letters letters(Tokenizer::Overflow::kCut);
  EXPECT_TRUE(letters.EncodeTo(longest, 77).ok());
  EXPECT_EQ(ErrorReason(letters.EncodeTo(longest + "a", 77).status()), "PROMPT_TOO_LONG");
}

}  // namespace
}  // namespace darkroom
