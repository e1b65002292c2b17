#include "evaluation/mode.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

v1::Model Served(const std::string& id, const std::string& precision, const std::string& digest,
                 v1::Model::State state = v1::Model::STATE_READY) {
  v1::Model model;
  model.set_name("models/" + id);
  model.set_precision(precision);
  model.set_digest(digest);
  model.set_state(state);
  return model;
}

ModeChoice Choice(const std::string& text) { return ParseModes(text)->front(); }

TEST(ModeTest, ReadsTheFlag) {
  const auto modes = ParseModes("exact, bf16=models/small");
  ASSERT_TRUE(modes.ok()) << modes.status();
  ASSERT_EQ(modes->size(), 2u);
  EXPECT_EQ((*modes)[0].mode.name, "exact");
  EXPECT_EQ((*modes)[0].mode.precision, "f32");
  EXPECT_EQ((*modes)[0].model, "");
  EXPECT_EQ((*modes)[1].mode.precision, "bf16");
  EXPECT_EQ((*modes)[1].model, "models/small");
}

TEST(ModeTest, RefusesFlagsByName) {
  EXPECT_EQ(ErrorReason(ParseModes("").status()), "MODES_EMPTY");
  EXPECT_EQ(ErrorReason(ParseModes(" , ").status()), "MODES_EMPTY");
  EXPECT_EQ(ErrorReason(ParseModes("exact,exact").status()), "MODE_REPEATED");
  const absl::Status unknown = ParseModes("exact,fp8").status();
  EXPECT_EQ(ErrorReason(unknown), "MODE_UNKNOWN");
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("\"fp8\""));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("exact, bf16"));
}

TEST(ModeTest, KnownModesBeginWithTheExactOne) { EXPECT_EQ(KnownModes().front().name, kExactMode); }

TEST(ModeTest, FindsTheSameWeightsInAnotherPrecision) {
  const std::vector<v1::Model> served = {Served("other", "bf16", "b"), Served("small", "f32", "a"),
                                         Served("small-bf16", "bf16", "a")};
  EXPECT_EQ(FindModel(Choice("exact"), "models/small", served)->name(), "models/small");
  EXPECT_EQ(FindModel(Choice("bf16"), "models/small", served)->name(), "models/small-bf16");
  EXPECT_EQ(FindModel(Choice("exact"), "models/small-bf16", served)->name(), "models/small");
  EXPECT_EQ(FindModel(Choice("bf16=models/small-bf16"), "", served)->name(), "models/small-bf16");
  // Without a name where all that is served has the same weights.
  EXPECT_EQ(ErrorReason(FindModel(Choice("exact"), "", served).status()), "MODEL_AMBIGUOUS");
  EXPECT_EQ(FindModel(Choice("bf16"), "", absl::MakeConstSpan(served).subspan(1))->name(),
            "models/small-bf16");
}

TEST(ModeTest, SaysWhatIsNotServed) {
  const std::vector<v1::Model> served = {Served("other", "bf16", "b"), Served("small", "f32", "a")};
  absl::Status status = FindModel(Choice("bf16"), "models/small", served).status();
  EXPECT_EQ(ErrorReason(status), "MODE_NOT_SERVED");
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("models/other (bf16), models/small (f32)"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--model-path"));
  status = FindModel(Choice("exact"), "models/smal", served).status();
  EXPECT_EQ(ErrorReason(status), "MODEL_NOT_FOUND");
  EXPECT_THAT(std::string(status.message()), HasSubstr("nearest: models/small"));
  EXPECT_EQ(ErrorReason(FindModel(Choice("exact"), "", {}).status()), "MODEL_NOT_FOUND");
}

TEST(ModeTest, NamedModelsMustBeTheSameWeightsInTheModesPrecision) {
  const std::vector<v1::Model> served = {Served("other", "bf16", "b"), Served("small", "f32", "a")};
  for (const char* choice : {"bf16=models/small", "bf16=models/other"}) {
    const absl::Status status = FindModel(Choice(choice), "models/small", served).status();
    EXPECT_EQ(ErrorReason(status), "MODE_MODEL_MISMATCH") << choice;
  }
  EXPECT_EQ(ErrorReason(FindModel(Choice("bf16=models/none"), "models/small", served).status()),
            "MODEL_NOT_FOUND");
}

TEST(ModeTest, LoadingAndFailedModelsAreNoModels) {
  const std::vector<v1::Model> loading = {Served("small", "", "", v1::Model::STATE_LOADING)};
  EXPECT_EQ(ErrorReason(FindModel(Choice("exact"), "models/small", loading).status()),
            "MODEL_NOT_READY");
  EXPECT_EQ(ErrorReason(FindModel(Choice("exact"), "", loading).status()), "MODEL_NOT_READY");
  std::vector<v1::Model> failed = {Served("small", "", "", v1::Model::STATE_FAILED)};
  failed[0].set_error("no file");
  EXPECT_THAT(std::string(FindModel(Choice("exact"), "", failed).status().message()),
              HasSubstr("no file"));
}

}  // namespace
}  // namespace darkroom
