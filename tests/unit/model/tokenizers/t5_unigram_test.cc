#include "model/tokenizers/t5_unigram.h"

#include <random>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/flux_fixture.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Ids are compared with those of transformers on a hard corpus in tests/golden. Here: a vocabulary
// in which every choice can be seen, and files that are wrong.
class T5UnigramTest : public ::testing::Test {
 protected:
  T5UnigramTest() {
    folder_.Write("model_index.json", R"({"_class_name": "FluxPipeline"})");
    tokenizer_["model"]["type"] = "Unigram";
    tokenizer_["model"]["unk_id"] = 2;
    auto& vocabulary = tokenizer_["model"]["vocab"];
    vocabulary = nlohmann::json::array();
    const std::pair<const char*, double> pieces[] = {
        {"<pad>", 0},       {"</s>", 0}, {"<unk>", 0}, {"\u2581", -3}, {"\u2581a", -2},
        {"\u2581ab", -4.5}, {"a", -3},   {"b", -3},    {"ab", -4},     {"abb", -20},
    };
    for (const auto& [piece, score] : pieces) vocabulary.push_back({piece, score});
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> Load() const {
    folder_.Write("tokenizer_2/tokenizer.json", tokenizer_.dump());
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    if (!folder.ok()) return folder.status();
    return LoadT5Tokenizer(*folder, "tokenizer_2");
  }
  std::string Problem() const {
    const absl::Status status = Load().status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
    return std::string(status.message());
  }
  std::vector<int32_t> Ids(std::string_view prompt) const {
    const auto tokenizer = Load();
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? (*tokenizer)->Encode(prompt) : std::vector<int32_t>();
  }

  testing::TempFolder folder_;
  nlohmann::json tokenizer_;
};

TEST_F(T5UnigramTest, TakesTheLikeliestPieces) {
  EXPECT_THAT(Ids("a"), ElementsAre(4, 1));
  // -4.5 against -2 - 3.
  EXPECT_THAT(Ids("ab"), ElementsAre(5, 1));
  // -4.5 - 3 against -20.
  EXPECT_THAT(Ids("abb"), ElementsAre(5, 7, 1));
  EXPECT_THAT(Ids("b"), ElementsAre(3, 7, 1));
}

TEST_F(T5UnigramTest, WordsBeginAnewAfterAnySpace) {
  EXPECT_THAT(Ids(" a \t a\u3000a "), ElementsAre(4, 4, 4, 1));
  EXPECT_THAT(Ids(""), ElementsAre(1));
  EXPECT_THAT(Ids(" \n"), ElementsAre(1));
}

TEST_F(T5UnigramTest, NeighbouringUnknownsAreOneToken) {
  EXPECT_THAT(Ids("xyz"), ElementsAre(3, 2, 1));
  EXPECT_THAT(Ids("xaz"), ElementsAre(3, 2, 6, 2, 1));
}

TEST_F(T5UnigramTest, PadsAndRefusesButNeverCuts) {
  const auto tokenizer = Load();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(*(*tokenizer)->EncodeTo("a", 4), ElementsAre(4, 1, 0, 0));
  EXPECT_THAT(*(*tokenizer)->EncodeTo("a a a", 4), ElementsAre(4, 4, 4, 1));
  const absl::Status status = (*tokenizer)->EncodeTo("a a a a", 4).status();
  EXPECT_EQ(ErrorReason(status), "PROMPT_TOO_LONG");
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("5 tokens"), HasSubstr("at most 4")));
}

TEST_F(T5UnigramTest, RefusesVocabulariesThatAreNone) {
  const auto good = tokenizer_;
  auto& vocabulary = tokenizer_["model"]["vocab"];
  for (const nlohmann::json& piece :
       {nlohmann::json("a"), nlohmann::json({"a"}), nlohmann::json({"", 0}), nlohmann::json({1, 0}),
        nlohmann::json({"q", "0"}), nlohmann::json({"a", -1})}) {
    vocabulary.push_back(piece);
    EXPECT_THAT(Problem(), HasSubstr("tokenizer_2/tokenizer.json")) << piece;
    vocabulary.erase(vocabulary.size() - 1);
  }
  vocabulary = nlohmann::json::array();
  EXPECT_THAT(Problem(), HasSubstr("model.vocab"));
  tokenizer_ = good;
  tokenizer_.erase("model");
  EXPECT_THAT(Problem(), HasSubstr("model.vocab"));
  tokenizer_ = good;
  tokenizer_["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "%"}};
  EXPECT_THAT(Problem(), HasSubstr("base64"));
  tokenizer_["normalizer"]["precompiled_charsmap"] = "AAAA";
  EXPECT_THAT(Problem(), HasSubstr("normalization rules"));
}

TEST_F(T5UnigramTest, TheUnknownTokenHasItsPlace) {
  tokenizer_["model"]["vocab"][2][0] = "<other>";
  EXPECT_THAT(Problem(), HasSubstr("<unk>"));
}

TEST_F(T5UnigramTest, AnyBytesAreTokens) {
  const testing::FluxFixture model("dev");  // a trained vocabulary with normalization rules
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(model.path());
  const auto tokenizer = LoadT5Tokenizer(*folder, "tokenizer_2");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::mt19937 random(12);
  const std::string pieces[] = {"<extra_id_1>", "</s>",        "\u2581", "\u0301", "\u200d",
                                "\U0001F469",   "\xF0\x9F",    "\xC3",   " ",      "ab",
                                "\uFB01",       "\u1100\u1161"};
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
    ASSERT_GE(ids.size(), 1u);
    EXPECT_EQ(ids.back(), (*tokenizer)->end_id());
    for (const int32_t id : ids) {
      ASSERT_GE(id, 0);
      ASSERT_LT(id, (*tokenizer)->vocabulary_size());
    }
  }
}

}  // namespace
}  // namespace darkroom
