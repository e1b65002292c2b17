#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/model_folder.h"
#include "model/tokenizers/clip_bpe.h"
#include "model/tokenizers/t5_unigram.h"
#include "nlohmann/json.hpp"
#include "testing/temp_folder.h"

namespace darkroom::golden {
namespace {

struct TokenizerCase {
  const char* fixture;
  absl::StatusOr<std::unique_ptr<Tokenizer>> (*load)(ModelFolder& folder, std::string_view);
};

// Where the fixtures are: README.md tells how to make others with full vocabularies.
std::string FixturesFolder() {
  const char* other = std::getenv("DARKROOM_TEXT_GOLDENS");
  return other != nullptr ? other : DARKROOM_SOURCE_DIR "/tests/golden/fixtures";
}

class TokenizerGoldenTest : public ::testing::TestWithParam<TokenizerCase> {};

// make_text_goldens.py's.
int64_t Digest(const std::vector<int32_t>& ids) {
  int64_t value = 0;
  for (const int32_t id : ids) value = (value * 31 + id + 1) % (int64_t{1} << 31);
  return value;
}

TEST_P(TokenizerGoldenTest, IdsEqualThoseOfTransformers) {
  const std::string path = absl::StrCat(FixturesFolder(), "/", GetParam().fixture);
  std::ifstream file(path + "/goldens.json");
  if (!file && std::getenv("DARKROOM_TEXT_GOLDENS") != nullptr) GTEST_SKIP() << "not made";
  ASSERT_TRUE(file) << path;
  const auto goldens = nlohmann::json::parse(file);

  // A tokenizer's folder lies in a model's folder.
  const testing::TempFolder temporary;
  const std::filesystem::path model = temporary.Path("model");
  std::filesystem::create_directories(model);
  std::filesystem::copy(path + "/tokenizer", model / "tokenizer",
                        std::filesystem::copy_options::recursive);
  std::ofstream(model / "model_index.json") << R"({"_class_name": "FluxPipeline"})";
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(model);
  ASSERT_TRUE(folder.ok()) << folder.status();
  const auto tokenizer = GetParam().load(*folder, "tokenizer");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();

  EXPECT_EQ((*tokenizer)->pad_id(), goldens.at("pad"));
  EXPECT_EQ((*tokenizer)->end_id(), goldens.at("end"));
  EXPECT_EQ((*tokenizer)->vocabulary_size(), goldens.at("size"));
  EXPECT_EQ((*tokenizer)->length_max(), goldens.at("length_max"));
  for (const auto& entry : goldens.at("cases")) {
    const auto text = entry.at("text").get<std::string>();
    std::string prompt;
    for (int i = 0; i < entry.value("repeat", 1); ++i) prompt += text;
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<int32_t> ids = (*tokenizer)->Encode(prompt);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    const auto expected = entry.at("ids").get<std::vector<int32_t>>();
    const std::vector<int32_t> first(
        ids.begin(), ids.begin() + static_cast<int64_t>(std::min(ids.size(), expected.size())));
    EXPECT_EQ(first, expected) << entry.at("name") << ": " << text;
    EXPECT_EQ(ids.size(), entry.at("count")) << entry.at("name");
    EXPECT_EQ(Digest(ids), entry.at("digest")) << entry.at("name");
    if (prompt.size() > 5000) {
      RecordProperty(entry.at("name").get<std::string>(), absl::StrCat(took.count(), " ms"));
      if (std::getenv("DARKROOM_TEXT_TIMES") != nullptr) {
        std::cout << entry.at("name") << ": " << prompt.size() << " bytes, " << ids.size()
                  << " tokens, " << took.count() << " ms\n";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, TokenizerGoldenTest,
                         ::testing::Values(TokenizerCase{"text_clip_bpe", LoadClipTokenizer},
                                           TokenizerCase{"text_clip_json", LoadClipTokenizer},
                                           TokenizerCase{"text_t5_unigram", LoadT5Tokenizer},
                                           TokenizerCase{"text_t5_json", LoadT5Tokenizer}),
                         [](const ::testing::TestParamInfo<TokenizerCase>& info) {
                           return std::string(info.param.fixture);
                         });

}  // namespace
}  // namespace darkroom::golden
