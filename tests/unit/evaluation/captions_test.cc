#include "evaluation/captions.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::vector<Caption>> Read(const std::string& json) {
  const testing::TempFolder folder;
  folder.Write("config.json", R"({"_class_name": "X"})");
  folder.Write("captions.json", json);
  auto opened = ModelFolder::Open(folder.path(), ModelFolder::kConfigFile);
  if (!opened.ok()) return opened.status();
  return ReadCaptions(*opened, "captions.json");
}

TEST(CaptionsTest, ReadsThemInOrder) {
  const auto captions = Read(R"({"captions": [{"caption": "red apple", "held_out": false},
                                              {"held_out": true, "caption": "dog"}]})");
  ASSERT_TRUE(captions.ok()) << captions.status();
  ASSERT_EQ(captions->size(), 2u);
  EXPECT_EQ((*captions)[0].text, "red apple");
  EXPECT_FALSE((*captions)[0].held_out);
  EXPECT_EQ((*captions)[1].text, "dog");
  EXPECT_TRUE((*captions)[1].held_out);
}

TEST(CaptionsTest, RefusesWhatIsWrongByName) {
  const std::string good = R"({"caption": "dog", "held_out": false})";
  const auto list = [](const std::string& entries) {
    return absl::StrCat(R"({"captions": [)", entries, "]}");
  };
  const std::pair<std::string, std::string> cases[] = {
      {"{}", "2 to 10000"},
      {R"({"captions": "dog"})", "2 to 10000"},
      {list(good), "2 to 10000"},
      {R"({"captions": [], "more": 1})", "2 to 10000"},
      {list(good + ", 3"), "captions[1] must be an object"},
      {list(good + R"(, {"caption": "", "held_out": true})"), "1 to 10240 bytes"},
      {list(good + R"(, {"caption": 3, "held_out": true})"), "1 to 10240 bytes"},
      {list(good + R"(, {"caption": "cat"})"), "needs held_out"},
      {list(good + R"(, {"caption": "cat", "held_out": 1})"), "needs held_out"},
      {list(good + R"(, {"caption": "cat", "held_out": true, "x": 1})"), "other fields"},
      {list(absl::StrCat(good, ", ", good)), "captions[1] is there twice"},
      {"[]", "must be a JSON object"}};
  for (const auto& [json, problem] : cases) {
    const absl::Status status = Read(json).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << json;
    EXPECT_THAT(std::string(status.message()), HasSubstr(problem)) << json;
    EXPECT_THAT(std::string(status.message()), HasSubstr("captions.json")) << json;
  }
}

// `held_out` of `total`, scattered.
std::vector<Caption> Gallery(int total, int held_out) {
  std::vector<Caption> captions;
  for (int i = 0; i < total; ++i) captions.push_back({absl::StrCat("c", i), i % 20 < held_out});
  return captions;
}

int HeldOut(const std::vector<Caption>& captions, const std::vector<size_t>& chosen) {
  int count = 0;
  for (const size_t i : chosen) count += captions[i].held_out ? 1 : 0;
  return count;
}

TEST(CaptionsTest, ChoosesBothKindsEvenly) {
  const std::vector<Caption> captions = Gallery(200, 1);  // 10 are held out
  for (int count = 1; count <= 200; ++count) {
    const auto chosen = ChoosePrompts(captions, count);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    ASSERT_EQ(chosen->size(), static_cast<size_t>(count));
    for (size_t i = 1; i < chosen->size(); ++i) ASSERT_LT((*chosen)[i - 1], (*chosen)[i]);
    ASSERT_LT(chosen->back(), captions.size());
    const int held_out = HeldOut(captions, *chosen);
    EXPECT_NEAR(held_out, count / 20.0, 1.0) << count;
    if (count >= 2) {
      EXPECT_GE(held_out, 1) << count;
    }
  }
  EXPECT_EQ(ChoosePrompts(captions, 0)->size(), 200u);
}

TEST(CaptionsTest, ChoosesWhereThereIsOneKind) {
  for (const int held_out : {0, 20}) {
    const std::vector<Caption> captions = Gallery(40, held_out);
    for (const int count : {1, 2, 7, 40}) {
      EXPECT_EQ(ChoosePrompts(captions, count)->size(), static_cast<size_t>(count));
    }
  }
}

TEST(CaptionsTest, RefusesMoreThanThereAre) {
  for (const int count : {-1, 41}) {
    const absl::Status status = ChoosePrompts(Gallery(40, 1), count).status();
    EXPECT_EQ(ErrorReason(status), "PROMPTS_OUT_OF_RANGE");
    EXPECT_THAT(std::string(status.message()), HasSubstr("1 to 40"));
  }
}

}  // namespace
}  // namespace darkroom
