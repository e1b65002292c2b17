#include "model/tokenizers/piece_trie.h"

#include <algorithm>
#include <random>
#include <set>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

std::vector<std::pair<size_t, int32_t>> Found(const PieceTrie& trie, std::string_view text) {
  std::vector<std::pair<size_t, int32_t>> found;
  trie.ForEachPrefix(text, [&](size_t bytes, int32_t id) { found.emplace_back(bytes, id); });
  return found;
}

TEST(PieceTrieTest, ShortestFirst) {
  const PieceTrie trie(std::vector<std::string>{"abc", "a", "b", "ab\xFF"});
  EXPECT_THAT(Found(trie, "abcd"), ElementsAre(Pair(1, 1), Pair(3, 0)));
  EXPECT_THAT(Found(trie, "ab\xFF"), ElementsAre(Pair(1, 1), Pair(3, 3)));
  EXPECT_THAT(Found(trie, "ba"), ElementsAre(Pair(1, 2)));
  EXPECT_THAT(Found(trie, "c"), IsEmpty());
  EXPECT_THAT(Found(trie, ""), IsEmpty());
}

TEST(PieceTrieTest, WithoutPieces) {
  EXPECT_THAT(Found(PieceTrie(), "a"), IsEmpty());
  EXPECT_THAT(Found(PieceTrie(std::vector<std::string>{}), "a"), IsEmpty());
}

TEST(PieceTrieTest, AsALinearSearchFinds) {
  std::mt19937 random(2);
  const auto draw = [&random](size_t length_max) {
    std::string text(random() % length_max + 1, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 3);
    return text;
  };
  std::set<std::string> different;
  while (different.size() < 200) different.insert(draw(7));
  std::vector<std::string> pieces(different.begin(), different.end());
  std::shuffle(pieces.begin(), pieces.end(), random);
  const PieceTrie trie(pieces);
  for (int i = 0; i < 500; ++i) {
    const std::string text = draw(12);
    std::vector<std::pair<size_t, int32_t>> expected;
    for (size_t bytes = 1; bytes <= text.size(); ++bytes) {
      const auto at = std::find(pieces.begin(), pieces.end(), text.substr(0, bytes));
      if (at != pieces.end()) expected.emplace_back(bytes, at - pieces.begin());
    }
    EXPECT_EQ(Found(trie, text), expected) << text;
  }
}

}  // namespace
}  // namespace darkroom
