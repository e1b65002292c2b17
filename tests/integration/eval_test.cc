// `darkroom eval` as people and scripts run it: real daemon and worker processes, a tiny FLUX.1
// with random weights and a tiny random scorer. What the figures are worth is tested elsewhere;
// here they must be there, hang together, and come to an end whatever happens.

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/daemon_process.h"
#include "testing/png_reader.h"
#include "testing/scorer_fixture.h"
#include "testing/subprocess.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kModel[] = DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_dev/model";

class EvalTest : public ::testing::Test {
 protected:
  // Runs `darkroom eval`, with temporary files where they are counted.
  Subprocess Start(const std::vector<std::string>& arguments, bool terminal = false,
                   const std::string& scorer = kTinyScorer) {
    std::filesystem::create_directories(folder_.Path("tmp"));
    std::vector<std::string> words = {DARKROOM_BIN_DIR "/darkroom", "eval", "--scorer", scorer};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return Subprocess(
        words, {{absl::StrCat("TMPDIR=", folder_.Path("tmp"))}, terminal, /*silence=*/120'000});
  }
  bool NothingLeft() const { return std::filesystem::is_empty(folder_.Path("tmp")); }
  size_t FilesIn(const std::string& folder) const {
    const std::filesystem::directory_iterator files(folder_.Path(folder));
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }

  TempFolder folder_;
};

// A daemon that serves the same weights in both precisions.
class ServedEvalTest : public EvalTest {
 protected:
  explicit ServedEvalTest(bool with_bf16 = true) {
    folder_.Write("config.json",
                  with_bf16 ? absl::StrCat(R"({"models": [{"path": ")", kModel,
                                           R"(", "name": "small-bf16", "precision": "bf16"}]})")
                            : std::string("{}"));
    daemon_ = std::make_unique<DaemonProcess>(DaemonProcess::Options{
        kModel, folder_.Path("state"), false, {"--config", folder_.Path("config.json")}, {}});
    daemon_->Start();
  }
  std::vector<std::string> Arguments(std::vector<std::string> more) const {
    std::vector<std::string> words = {"--server", daemon_->server(), "--model", "model"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::unique_ptr<DaemonProcess> daemon_;
};

TEST_F(ServedEvalTest, FiguresPicturesAndSheetHangTogether) {
  Subprocess eval = Start(
      Arguments({"--prompts", "5", "--in-flight", "2", "--steps", "3", "--seed", "7", "--json",
                 "--sheet", folder_.Path("sheet.png"), "--output", folder_.Path("out")}));
  ASSERT_EQ(eval.Wait(), 0) << eval.err() << daemon_->log();
  const nlohmann::json report = nlohmann::json::parse(eval.out());
  EXPECT_EQ(report["prompts"], 5);
  EXPECT_EQ(report["gallery"], 12);
  EXPECT_THAT(report["settings"].get<std::string>(), HasSubstr("32x32, 3 steps"));
  ASSERT_EQ(report["modes"].size(), 2u);
  const nlohmann::json& exact = report["modes"][0];
  const nlohmann::json& bf16 = report["modes"][1];
  EXPECT_EQ(exact["model"], "models/model");
  EXPECT_EQ(bf16["model"], "models/small-bf16");
  EXPECT_EQ(bf16["precision"], "bf16");
  EXPECT_NE(exact["numerics_id"], bf16["numerics_id"]);
  EXPECT_EQ(exact["speed_up"], 1.0);
  EXPECT_TRUE(exact["difference"].is_null());
  for (const nlohmann::json& mode : report["modes"]) {
    EXPECT_GT(mode["compute_seconds"]["median"], 0.0);
    EXPECT_GE(mode["compute_seconds"]["p95"], mode["compute_seconds"]["median"]);
    EXPECT_GT(mode["wall_seconds"]["median"], 0.0);
    EXPECT_EQ(mode["training"]["pictures"].get<int>() + mode["held_out"]["pictures"].get<int>(), 5);
    EXPECT_GE(mode["held_out"]["pictures"], 1);
  }
  // Rounded factors change pictures a little: none of these is broken.
  const nlohmann::json& difference = bf16["difference"];
  EXPECT_GT(difference["ssim"]["worst"], 0.8);
  EXPECT_LT(difference["identical"], 5) << "bf16 was not run";
  EXPECT_GT(difference["psnr"]["worst"], 25.0);
  EXPECT_GT(difference["perceptual"]["worst"], 0.0);

  EXPECT_EQ(FilesIn("out/exact"), 5u);
  EXPECT_EQ(FilesIn("out/bf16"), 5u);
  EXPECT_EQ(nlohmann::json::parse(folder_.Read("out/report.json")), report);
  const auto sheet = DecodePng(folder_.Read("sheet.png"));
  ASSERT_TRUE(sheet.ok()) << sheet.status();
  EXPECT_GT(sheet->height, 5 * 128);
  EXPECT_EQ(daemon_->client().ListGenerations({})->generations_size(), 0) << "left on the server";

  // The first caption's picture is the one that its prompt and seed give by themselves.
  v1::GenerateRequest request = PictureRequest("red apple", 0, 3, 7, 3.5);
  request.set_model("models/model");
  const auto alone = GenerateAndWait(daemon_->client(), request);
  ASSERT_TRUE(alone.ok()) << alone.status();
  const auto whole = daemon_->client().GetGeneration(alone->name(), true);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(DecodePng(whole->outputs(0).data())->rgb,
            DecodePng(folder_.Read("out/exact/000-red-apple.png"))->rgb);
}

TEST_F(ServedEvalTest, ErrorsSayWhatIsWrongBeforeAnythingIsGenerated) {
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    std::string text;
    std::string scorer = kTinyScorer;
  };
  const Case cases[] = {
      {{"--modes", "exact,fp8"}, 64, "mode \"fp8\" is not known; known: exact, bf16"},
      {{"--in-flight", "65"}, 64, "must be 1 to 64"},
      {{"--model-path", kModel}, 64, "give one of them"},
      {{"--size", "big"}, 64, "--size is \"big\""},
      {{"--model", "modle"}, 5, "nearest: models/model"},
      {{"--modes", "exact=small-bf16"}, 3, "served in bf16"},
      {{"--prompts", "13"}, 3, "1 to 12"},
      {{"--size", "40x40"}, 3, "squares of 16 pixels"},
      {{}, 3, "config.json: is missing", kModel},
      {{"--sheet", "/no/such/folder/sheet.png"}, 5, "/no/such/folder"},
      {{"--steps", "100000"}, 3, "steps"},
  };
  for (const Case& one : cases) {
    std::vector<std::string> arguments = Arguments({"--prompts", "2", "--steps", "1"});
    // What is given twice, the case decides.
    for (size_t i = 0; i < one.arguments.size(); i += 2) {
      const auto given = std::find(arguments.begin(), arguments.end(), one.arguments[i]);
      if (given == arguments.end()) {
        arguments.insert(arguments.end(), {one.arguments[i], one.arguments[i + 1]});
      } else {
        *(given + 1) = one.arguments[i + 1];
      }
    }
    Subprocess eval = Start(arguments, /*terminal=*/false, one.scorer);
    EXPECT_EQ(eval.Wait(), one.exit_code) << one.text << "\n" << eval.err();
    EXPECT_THAT(eval.err(), HasSubstr(one.text));
    EXPECT_THAT(eval.out(), IsEmpty());
  }
  EXPECT_EQ(daemon_->client().ListGenerations({})->generations_size(), 0);
}

TEST_F(ServedEvalTest, ADaemonThatDiesLeavesTheFiguresSoFar) {
  Subprocess eval = Start(Arguments({"--in-flight", "1", "--steps", "200"}), /*terminal=*/true);
  ASSERT_TRUE(eval.AwaitText("2 of 24")) << eval.err();
  daemon_->Kill();
  EXPECT_EQ(eval.Wait(), 14) << eval.err();
  EXPECT_THAT(eval.err(), HasSubstr("no Darkroom server answers"));
  EXPECT_THAT(eval.out(), AllOf(HasSubstr("FIGURE"), HasSubstr("speed-up")));
}

class OnlyExactEvalTest : public ServedEvalTest {
 protected:
  OnlyExactEvalTest() : ServedEvalTest(/*with_bf16=*/false) {}
};

TEST_F(OnlyExactEvalTest, SaysWhichModeIsNotServed) {
  Subprocess eval = Start(Arguments({"--prompts", "2"}));
  EXPECT_EQ(eval.Wait(), 5) << eval.err();
  EXPECT_THAT(eval.err(), AllOf(HasSubstr("mode bf16 needs"), HasSubstr("models/model (f32)")));
  Subprocess exact = Start(Arguments({"--prompts", "2", "--modes", "exact", "--steps", "1"}));
  EXPECT_EQ(exact.Wait(), 0) << exact.err();
  EXPECT_THAT(exact.out(), HasSubstr("top-5, held-out captions"));
}

TEST_F(EvalTest, WithAFolderItNeedsNoServer) {
  Subprocess eval = Start({"--model-path", kModel, "--prompts", "2", "--steps", "2"});
  EXPECT_EQ(eval.Wait(), 0) << eval.err();
  EXPECT_THAT(eval.out(), AllOf(HasSubstr("models/f32"), HasSubstr("models/bf16"),
                                HasSubstr("perceptual distance, worst")));
  EXPECT_TRUE(NothingLeft());
}

TEST_F(EvalTest, AFolderThatIsNoModelIsAnError) {
  Subprocess eval = Start({"--model-path", folder_.path(), "--prompts", "2"});
  EXPECT_EQ(eval.Wait(), 14) << eval.err();
  EXPECT_THAT(eval.err(),
              AllOf(HasSubstr("the daemon of this evaluation ended"), HasSubstr("cannot be loaded"),
                    HasSubstr("model_index.json: is missing")));
  EXPECT_TRUE(NothingLeft());
}

TEST_F(EvalTest, AnInterruptionTellsWhatThereIsAndLeavesNothing) {
  Subprocess eval = Start({"--model-path", kModel, "--in-flight", "1", "--steps", "200"},
                          /*terminal=*/true);
  ASSERT_TRUE(eval.AwaitText("exact: 2 of 24")) << eval.err();
  eval.Signal(SIGINT);
  EXPECT_EQ(eval.Wait(), 130) << eval.err();
  EXPECT_THAT(eval.out(), AllOf(HasSubstr("FIGURE"), HasSubstr("identical to exact")));
  EXPECT_THAT(eval.err(), HasSubstr(" prompts of 12, a gallery of 12 captions"));
  EXPECT_THAT(eval.err(), Not(HasSubstr("error")));
  EXPECT_TRUE(NothingLeft());
}

}  // namespace
}  // namespace darkroom::testing
