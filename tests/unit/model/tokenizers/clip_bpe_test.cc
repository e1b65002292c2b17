#include "model/tokenizers/clip_bpe.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/limits.h"
#include "nlohmann/json.hpp"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Ids are compared with those of transformers on a hard corpus in tests/golden. Here: a vocabulary
// in which every merge can be seen, and files that are wrong.
class ClipBpeTest : public ::testing::Test {
 protected:
  ClipBpeTest() {
    folder_.Write("model_index.json", R"({"_class_name": "FluxPipeline"})");
    nlohmann::json vocabulary;
    for (const char* token :
         {"a", "b", "c", "a</w>", "b</w>", "c</w>", "ab", "ab</w>", "abc</w>", "1</w>", "'</w>",
          "s</w>", "'s</w>", "'", "s", "!</w>", "<|startoftext|>", "<|endoftext|>"}) {
      vocabulary[token] = vocabulary.size();
    }
    vocabulary_ = vocabulary;
    Write();
    folder_.Write("tokenizer/merges.txt", "#version: 0.2\na b\na b</w>\nab c</w>\n' s</w>\n");
  }

  void Write() const { folder_.Write("tokenizer/vocab.json", vocabulary_.dump()); }
  absl::StatusOr<std::unique_ptr<Tokenizer>> Load() const {
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    if (!folder.ok()) return folder.status();
    return LoadClipTokenizer(*folder, "tokenizer");
  }
  std::string Problem() const {
    const absl::Status status = Load().status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
    return std::string(status.message());
  }
  // Tokens between the begin and the end, as text.
  std::vector<std::string> Words(std::string_view prompt) const {
    const auto tokenizer = Load();
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    if (!tokenizer.ok()) return {};
    const std::vector<int32_t> ids = (*tokenizer)->Encode(prompt);
    EXPECT_EQ(ids.front(), vocabulary_.at("<|startoftext|>"));
    EXPECT_EQ(ids.back(), vocabulary_.at("<|endoftext|>"));
    std::vector<std::string> words;
    for (size_t i = 1; i + 1 < ids.size(); ++i) {
      for (const auto& [token, id] : vocabulary_.items()) {
        if (id == ids[i]) words.push_back(token);
      }
    }
    return words;
  }

  testing::TempFolder folder_;
  nlohmann::json vocabulary_;
};

TEST_F(ClipBpeTest, MergesTheEarliestLearnedFirst) {
  EXPECT_THAT(Words("abc"), ElementsAre("abc</w>"));
  EXPECT_THAT(Words("ab"), ElementsAre("ab</w>"));
  EXPECT_THAT(Words("abab"), ElementsAre("ab", "ab</w>"));
  EXPECT_THAT(Words("cab"), ElementsAre("c", "ab</w>"));
}

TEST_F(ClipBpeTest, WordsAreLettersSingleDigitsContractionsAndTheRest) {
  EXPECT_THAT(Words("  ABC\t ab\n"), ElementsAre("abc</w>", "ab</w>"));
  EXPECT_THAT(Words("11a"), ElementsAre("1</w>", "1</w>", "a</w>"));
  EXPECT_THAT(Words("a's!"), ElementsAre("a</w>", "'s</w>", "!</w>"));
}

TEST_F(ClipBpeTest, WhatIsNotInTheVocabularyIsTheUnknownToken) {
  EXPECT_THAT(Words("d"), ElementsAre("<|endoftext|>"));
}

TEST_F(ClipBpeTest, CutsAndKeepsTheEnd) {
  const auto tokenizer = Load();
  ASSERT_TRUE(tokenizer.ok());
  const int32_t begin = vocabulary_.at("<|startoftext|>");
  const int32_t end = vocabulary_.at("<|endoftext|>");
  const int32_t a = vocabulary_.at("a</w>");
  EXPECT_THAT(*(*tokenizer)->EncodeTo("a a a a a", 4), ElementsAre(begin, a, a, end));
  EXPECT_THAT(*(*tokenizer)->EncodeTo("a", 5), ElementsAre(begin, a, end, end, end));
  const absl::Status status =
      (*tokenizer)->EncodeTo(std::string(model_limits::kPromptBytesMax + 1, 'a'), 77).status();
  EXPECT_EQ(ErrorReason(status), "PROMPT_TOO_LONG");
}

TEST_F(ClipBpeTest, NamesWhatIsMissing) {
  std::filesystem::remove(folder_.Path("tokenizer/merges.txt"));
  EXPECT_THAT(Problem(), AllOf(HasSubstr("merges.txt is missing"), HasSubstr("tokenizer.json")));
  std::filesystem::remove(folder_.Path("tokenizer/vocab.json"));
  EXPECT_THAT(Problem(), HasSubstr("missing"));
}

TEST_F(ClipBpeTest, RefusesVocabulariesThatAreNone) {
  const std::pair<const char*, nlohmann::json> changes[] = {
      {"a", -1}, {"a", 1 << 20}, {"a", 1}, {"a", "0"}, {"a", 0.5}};
  const nlohmann::json good = vocabulary_;
  for (const auto& [token, id] : changes) {
    vocabulary_[token] = id;
    Write();
    EXPECT_THAT(Problem(), HasSubstr("vocab.json")) << id;
    vocabulary_ = good;
  }
  folder_.Write("tokenizer/vocab.json", "{}");
  EXPECT_THAT(Problem(), HasSubstr("vocab.json"));
  folder_.Write("tokenizer/vocab.json", "[");
  EXPECT_THAT(Problem(), HasSubstr("vocab.json"));
}

TEST_F(ClipBpeTest, RefusesMergesThatAreNone) {
  for (const char* merges : {"a\n", "a b c\n", " b\n", "a \n", "a q\n", "b a\n"}) {
    folder_.Write("tokenizer/merges.txt", merges);
    EXPECT_THAT(Problem(), HasSubstr("merge 1")) << merges;
  }
}

TEST_F(ClipBpeTest, RefusesSettingsThatWouldChangeIds) {
  const char* settings[] = {R"({"tokenizer_class": "LlamaTokenizer"})",
                            R"({"padding_side": "left"})",
                            R"({"truncation_side": "left"})",
                            R"({"split_special_tokens": true})",
                            R"({"model_max_length": 1})",
                            R"({"pad_token": "<none>"})",
                            R"({"added_tokens_decoder": {"3": {"content": "a"}}})"};
  for (const char* setting : settings) {
    folder_.Write("tokenizer/tokenizer_config.json", setting);
    EXPECT_THAT(Problem(), HasSubstr("tokenizer")) << setting;
  }
  folder_.Write("tokenizer/tokenizer_config.json", R"({"model_max_length": 1e30})");
  const auto tokenizer = Load();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->length_max(), 0);
}

TEST_F(ClipBpeTest, AnyBytesAreTokens) {
  const auto tokenizer = Load();
  ASSERT_TRUE(tokenizer.ok());
  std::mt19937 random(11);
  const std::string pieces[] = {"<|startoftext|>", "<|END",    "'s",   "\u0301", "\u200d",
                                "\U0001F469",      "\xF0\x9F", "\xC3", " ",      "ab",
                                "\xEF\xBF\xBD"};
  for (int i = 0; i < 300; ++i) {
    std::string prompt;
    for (uint32_t length = random() % 60; prompt.size() < length;) {
      if (random() % 2 == 0) {
        prompt += static_cast<char>(random());
      } else {
        prompt += pieces[random() % std::size(pieces)];
      }
    }
    const std::vector<int32_t> ids = (*tokenizer)->Encode(prompt);
    ASSERT_GE(ids.size(), 2u);
    for (const int32_t id : ids) {
      ASSERT_GE(id, 0);
      ASSERT_LT(id, (*tokenizer)->vocabulary_size());
    }
    EXPECT_EQ((*tokenizer)->EncodeTo(prompt, 77)->size(), 77u);
  }
}

}  // namespace
}  // namespace darkroom
