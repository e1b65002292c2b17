// The program `darkroom` as people and scripts run it, against a gateway in this process.

#include <stdlib.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "gateway/gateway.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/fake_engine.h"
#include "testing/subprocess.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::darkroom::testing::Subprocess;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kFirst[] = "tenants/local/generations/g00000001";

class CliProgramTest : public ::testing::Test {
 public:
  ~CliProgramTest() override { std::filesystem::remove_all(folder_); }
  CliProgramTest(const CliProgramTest&) = delete;
  CliProgramTest& operator=(const CliProgramTest&) = delete;

 protected:
  CliProgramTest() {
    std::string pattern = ::testing::TempDir() + "cli_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }

  void StartServer(FakeEngine::Options options = {}) {
    engine_ = std::make_unique<FakeEngine>(options);
    Gateway::Options gateway_options;
    gateway_options.address = "127.0.0.1:0";
    gateway_options.admin_address = "127.0.0.1:0";
    auto gateway = Gateway::Start(gateway_options, *engine_, Clock::Real());
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    server_ = absl::StrCat("127.0.0.1:", gateway_->port());
    admin_server_ = absl::StrCat("127.0.0.1:", gateway_->admin_port());
  }
  static FakeEngine::Options Manual() {
    FakeEngine::Options options;
    options.automatic = false;
    return options;
  }

  std::unique_ptr<Subprocess> Run(std::vector<std::string> arguments, bool terminal = false) {
    arguments.insert(arguments.begin(), DARKROOM_BIN_DIR "/darkroom");
    Subprocess::Options options;
    options.environment = {"DARKROOM_SERVER=" + server_, "DARKROOM_ADMIN_SERVER=" + admin_server_,
                           "TZ=UTC"};
    options.terminal = terminal;
    return std::make_unique<Subprocess>(arguments, options);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  static std::vector<nlohmann::json> JsonLines(const std::string& text) {
    std::vector<nlohmann::json> lines;
    for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      lines.push_back(nlohmann::json::parse(line.begin(), line.end(), nullptr, false));
      EXPECT_FALSE(lines.back().is_discarded()) << line;
    }
    return lines;
  }
  template <typename Condition>
  static bool Eventually(Condition condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::string folder_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Gateway> gateway_;
  std::string server_ = "127.0.0.1:1";        // nobody listens there
  std::string admin_server_ = "127.0.0.1:1";  // nor there
};

TEST_F(CliProgramTest, GenerateWritesTheFileAndPrintsItsPathLast) {
  FakeEngine::Options options;
  options.output_bytes = (2 << 20) + 3;
  StartServer(options);
  const auto program =
      Run({"generate", "--model", "dit", "--prompt", "goldfish", "--steps", "3", "--seed", "7",
           "--size", "64x64", "--guidance-scale", "2.5", "--no-metadata", "--label",
           "project=aqua=rium", "--out", Path("fish.png")});
  EXPECT_EQ(program->Wait(), 0) << program->err();
  EXPECT_EQ(program->out(), Path("fish.png") + "\n");
  EXPECT_EQ(Read(Path("fish.png")), FakeEngine::OutputBytes(options.output_bytes, 0));
  const v1::GenerateRequest request = engine_->submitted().at(0).request;
  EXPECT_EQ(request.model(), "models/dit");
  EXPECT_EQ(request.sampling().steps(), 3);
  EXPECT_EQ(request.sampling().seed(), 7);
  EXPECT_EQ(request.sampling().guidance_scale(), 2.5);
  EXPECT_EQ(request.width(), 64);
  EXPECT_TRUE(request.output().omit_metadata());
  EXPECT_EQ(request.labels().at("project"), "aqua=rium");
  EXPECT_THAT(request.request_id(),
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
}

TEST_F(CliProgramTest, SeveralImages) {
  StartServer();
  const auto refused =
      Run({"generate", "--prompt", "goldfish", "--num-images", "2", "--out", Path("fish.png")});
  EXPECT_EQ(refused->Wait(), 3);
  EXPECT_THAT(refused->err(), HasSubstr("nearest: " + Path("fish-{index}.png")));
  EXPECT_THAT(engine_->submitted(), IsEmpty());

  const auto program = Run(
      {"generate", "--prompt", "goldfish", "--num-images", "2", "--out", Path("fish-{index}.png")});
  EXPECT_EQ(program->Wait(), 0) << program->err();
  EXPECT_EQ(program->out(), Path("fish-0.png") + "\n" + Path("fish-1.png") + "\n");
  EXPECT_EQ(Read(Path("fish-1.png")), FakeEngine::OutputBytes(1000, 1));
}

TEST_F(CliProgramTest, JsonIsOneObjectALine) {
  StartServer();
  const auto program =
      Run({"--json", "generate", "--prompt", "goldfish", "--steps", "2", "--out", Path("f.png")});
  EXPECT_EQ(program->Wait(), 0);
  EXPECT_EQ(program->err(), "");
  const auto lines = JsonLines(program->out());
  ASSERT_GE(lines.size(), 5);
  EXPECT_TRUE(lines.front().contains("queued"));
  EXPECT_EQ(lines[lines.size() - 2]["completed"]["generation"]["state"], "STATE_SUCCEEDED");
  EXPECT_EQ(lines.back()["files"], nlohmann::json::array({Path("f.png")}));
  for (const auto& line : lines) {
    if (line.contains("output_chunk")) {
      EXPECT_EQ(line["output_chunk"]["data"], "");
    }
  }
}

TEST_F(CliProgramTest, ErrorsNameTheFlagTheRangeAndTheNearest) {
  StartServer();
  const auto program = Run({"generate", "--prompt", "goldfsh", "--steps", "0"});
  EXPECT_EQ(program->Wait(), 3);
  EXPECT_EQ(program->out(), "");
  EXPECT_THAT(program->err(), HasSubstr("--steps is 0; must be 1 to 250; nearest: 1"));
  EXPECT_THAT(program->err(), HasSubstr("--prompt \"goldfsh\" is no class of the model"));
  EXPECT_THAT(program->err(), HasSubstr("nearest: \"goldfish\""));
  EXPECT_THAT(program->err(), HasSubstr("(INVALID_ARGUMENT, FIELDS_INVALID)"));

  const auto single = Run({"generate", "--prompt", "goldfish", "--size", "100x100"});
  EXPECT_EQ(single->Wait(), 3);
  EXPECT_THAT(single->err(), HasSubstr("--size (width) is 100"));

  const auto json = Run({"get", "nothing", "--json"});
  EXPECT_EQ(json->Wait(), 5);
  const auto lines = JsonLines(json->err());
  ASSERT_EQ(lines.size(), 1);
  EXPECT_EQ(lines[0]["error"]["code"], 5);
  EXPECT_EQ(lines[0]["error"]["details"][0]["reason"], "GENERATION_NOT_FOUND");
}

TEST_F(CliProgramTest, WrongCommandLines) {
  StartServer();
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"nothing"},
      {"generate"},
      {"generate", "--prompt", "x", "--steps", "many"},
      {"generate", "--prompt", "x", "--size", "huge"},
      {"generate", "--prompt", "x", "--size", "1x2x3"},
      {"generate", "--prompt", "x", "--unknown"},
      {"generate", "--prompt", "x", "--noise-dtype", "f64"},
      {"generate", "--prompt", "x", "--preview-every", "2"},
      {"generate", "--prompt", "x", "--preview-dir", "p"},
      {"edit", "--prompt", "x"},
      {"edit", "--prompt", "x", "--init", "missing.png", "--mask-polarity", "white"},
      {"assets"},
      {"watch"},
      {"watch", "g1", "--after", "3", "--out", "f.png"},
      {"jobs", "--state", "lost"}};
  for (const auto& arguments : wrong) {
    const auto program = Run(arguments);
    EXPECT_EQ(program->Wait(), 64) << ::testing::PrintToString(arguments);
    EXPECT_NE(program->err(), "");
  }
  EXPECT_EQ(Run({"--help"})->Wait(), 0);
  EXPECT_EQ(Run({"generate", "--help"})->Wait(), 0);
  EXPECT_EQ(Run({"--version"})->Wait(), 0);
  EXPECT_THAT(engine_->submitted(), IsEmpty());
}

TEST_F(CliProgramTest, NoServerSaysHowToStartOne) {
  for (const char* command : {"jobs", "models"}) {
    const auto program = Run({command});
    EXPECT_EQ(program->Wait(), 14);
    EXPECT_THAT(program->err(), HasSubstr("no Darkroom server answers at 127.0.0.1:1"));
    EXPECT_THAT(program->err(), HasSubstr("darkroomd --model DIR"));
  }
  const auto generate = Run({"generate", "--prompt", "x", "--out", Path("x.png")});
  EXPECT_EQ(generate->Wait(), 14);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(CliProgramTest, FailedGenerationLeavesNoFile) {
  StartServer(Manual());
  const auto program = Run({"generate", "--prompt", "goldfish", "--out", Path("f.png")});
  ASSERT_TRUE(Eventually([&] { return engine_->open_streams() == 1; }));
  engine_->Fail(kFirst, Error(absl::StatusCode::kInternal, "WORKER_LOST", "the worker was lost"));
  EXPECT_EQ(program->Wait(), 13);
  EXPECT_THAT(program->err(), HasSubstr("the worker was lost (INTERNAL, WORKER_LOST)"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(CliProgramTest, InterruptCancelsOnTheServer) {
  StartServer(Manual());
  const auto program = Run({"generate", "--prompt", "goldfish", "--out", Path("f.png")},
                           /*terminal=*/true);
  ASSERT_TRUE(program->AwaitText("queued"));
  program->Signal(SIGINT);
  EXPECT_EQ(program->Wait(), 130);
  EXPECT_THAT(engine_->cancelled(), ElementsAre(kFirst));
  EXPECT_EQ(engine_->Get(kFirst).state(), v1::Generation::STATE_CANCELLED);
  EXPECT_THAT(program->err(), HasSubstr("cancelled g00000001"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(CliProgramTest, InterruptedWatchLeavesTheGenerationAlone) {
  StartServer(Manual());
  const auto owner = Run({"generate", "--prompt", "goldfish", "--out", Path("f.png")});
  ASSERT_TRUE(Eventually([&] { return engine_->open_streams() == 1; }));
  const auto program = Run({"watch", "g00000001"}, /*terminal=*/true);
  ASSERT_TRUE(program->AwaitText("queued"));
  program->Signal(SIGINT);
  EXPECT_EQ(program->Wait(), 130);
  EXPECT_THAT(engine_->cancelled(), IsEmpty());
  engine_->Finish(kFirst);
  EXPECT_EQ(owner->Wait(), 0);
}

TEST_F(CliProgramTest, ProgressIsDrawnOnATerminalOnly) {
  FakeEngine::Options options;
  options.step_ms = 30;
  StartServer(options);
  const auto person =
      Run({"generate", "--prompt", "goldfish", "--steps", "20", "--out", Path("a.png")}, true);
  EXPECT_EQ(person->Wait(), 0);
  EXPECT_THAT(person->err(), HasSubstr("/20"));
  EXPECT_THAT(person->err(), HasSubstr("it/s"));
  EXPECT_THAT(person->err(), HasSubstr("eta"));
  EXPECT_EQ(person->out(), Path("a.png") + "\n");
  const auto script =
      Run({"generate", "--prompt", "goldfish", "--steps", "20", "--out", Path("b.png")});
  EXPECT_EQ(script->Wait(), 0);
  EXPECT_THAT(script->err(), Not(HasSubstr("it/s")));
}

TEST_F(CliProgramTest, WaitsForAModelThatIsBeingLoaded) {
  StartServer();
  v1::Model loading = FakeEngine::Dit();
  loading.set_state(v1::Model::STATE_LOADING);
  engine_->SetModels({loading});
  const auto hasty =
      Run({"generate", "--prompt", "goldfish", "--wait", "0", "--out", Path("f.png")});
  EXPECT_EQ(hasty->Wait(), 14);
  EXPECT_THAT(hasty->err(), HasSubstr("MODEL_LOADING"));
  const auto program = Run({"generate", "--prompt", "goldfish", "--out", Path("f.png")}, true);
  ASSERT_TRUE(program->AwaitText("waiting: the model is being loaded"));
  engine_->SetModels({FakeEngine::Dit()});
  EXPECT_EQ(program->Wait(), 0) << program->err();
}

TEST_F(CliProgramTest, BrokenConnectionIsTakenUpAgain) {
  StartServer(Manual());
  const auto program =
      Run({"generate", "--prompt", "goldfish", "--steps", "2", "--out", Path("f.png")}, true);
  ASSERT_TRUE(program->AwaitText("queued"));
  const int port = gateway_->port();
  gateway_.reset();
  engine_->Finish(kFirst);
  ASSERT_TRUE(program->AwaitText("waiting"));
  Gateway::Options options;
  options.address = absl::StrCat("127.0.0.1:", port);
  auto gateway = Gateway::Start(options, *engine_, Clock::Real());
  ASSERT_TRUE(gateway.ok()) << gateway.status();
  EXPECT_EQ(program->Wait(), 0) << program->err();
  EXPECT_EQ(Read(Path("f.png")), FakeEngine::OutputBytes(1000, 0));
}

TEST_F(CliProgramTest, JobsGetWatchCancelDelete) {
  StartServer();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Run({"generate", "--prompt", "goldfish", "--seed", absl::StrCat(i), "--out",
                   Path("{seed}.png")})
                  ->Wait(),
              0);
  }
  const auto jobs = Run({"jobs", "--limit", "2"});
  EXPECT_EQ(jobs->Wait(), 0);
  const std::vector<std::string> lines = absl::StrSplit(jobs->out(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3);
  EXPECT_THAT(lines[0], StartsWith("ID "));
  EXPECT_THAT(lines[1], AllOf(StartsWith("g00000003  succeeded  10/10"), HasSubstr("128x128"),
                              HasSubstr("goldfish")));
  EXPECT_THAT(lines[2], StartsWith("g00000002"));
  const auto none = Run({"jobs", "--state", "failed", "--json"});
  EXPECT_EQ(none->Wait(), 0);
  EXPECT_EQ(none->out(), "");

  const auto get = Run({"get", "g00000002", "--out", Path("again.png")});
  EXPECT_EQ(get->Wait(), 0);
  EXPECT_THAT(get->out(), HasSubstr("seed:             1\n"));
  EXPECT_EQ(Read(Path("again.png")), Read(Path("1.png")));

  const auto watch = Run({"watch", "g00000001", "--out", Path("watched.png")});
  EXPECT_EQ(watch->Wait(), 0);
  EXPECT_EQ(watch->out(), Path("watched.png") + "\n");
  EXPECT_EQ(Read(Path("watched.png")), Read(Path("0.png")));

  const auto cancel = Run({"cancel", "g00000001", "nothing", kFirst});
  EXPECT_EQ(cancel->Wait(), 5);
  EXPECT_EQ(cancel->out(), "g00000001 succeeded\ng00000001 succeeded\n");
  const auto erase = Run({"delete", "g00000001", "g00000002", "--json"});
  EXPECT_EQ(erase->Wait(), 0);
  EXPECT_EQ(JsonLines(erase->out()).size(), 2);
  EXPECT_EQ(Run({"get", "g00000001"})->Wait(), 5);
}

TEST_F(CliProgramTest, TerminalCannotBeCommandeeredByAPrompt) {
  StartServer();
  v1::Generation hostile;
  hostile.set_name("tenants/local/generations/x");
  hostile.mutable_request()->set_prompt("\x1b]0;owned\x07\r\nrm");
  hostile.mutable_error()->set_message("\x1b[2J");
  engine_->Insert(hostile);
  for (const char* command : {"jobs", "get"}) {
    const auto program = std::string(command) == "jobs" ? Run({command}) : Run({command, "x"});
    EXPECT_EQ(program->Wait(), 0);
    EXPECT_THAT(program->out(), HasSubstr("?]0;owned???rm"));
    EXPECT_THAT(program->out(), Not(HasSubstr("\x1b")));
  }
}

TEST_F(CliProgramTest, Models) {
  StartServer();
  engine_->SetModels({FakeEngine::Dit(), FakeEngine::Flux()});
  const auto list = Run({"models"});
  EXPECT_EQ(list->Wait(), 0);
  EXPECT_THAT(list->out(),
              HasSubstr("dit    ready  DiTPipeline   128x128, 64 to 256 by 8, square"));
  EXPECT_THAT(list->out(), HasSubstr("one of 6 classes"));
  const auto show = Run({"models", "dit"});
  EXPECT_EQ(show->Wait(), 0);
  EXPECT_THAT(show->out(), HasSubstr("\n  tench, Tinca tinca\n"));
  const auto json = Run({"models", "--json"});
  EXPECT_EQ(json->Wait(), 0);
  ASSERT_EQ(JsonLines(json->out()).size(), 2);
  EXPECT_EQ(JsonLines(json->out())[0]["name"], "models/dit");
}

TEST_F(CliProgramTest, ValidateOnlyTellsTheDefaults) {
  StartServer();
  const auto program = Run({"generate", "--prompt", "goldfish", "--validate-only"});
  EXPECT_EQ(program->Wait(), 0);
  EXPECT_EQ(program->out(), "valid: models/dit, 128x128, 10 steps, guidance scale 4, 1 image\n");
  EXPECT_THAT(engine_->submitted(), IsEmpty());
}

TEST_F(CliProgramTest, DoctorTellsWhatIsMissing) {
  const auto alone = Run({"doctor"});
  EXPECT_EQ(alone->Wait(), 1);
  EXPECT_THAT(alone->out(), HasSubstr("missing  server           no Darkroom server answers"));
  EXPECT_THAT(alone->out(), HasSubstr("-> start one with: darkroomd --model DIR"));
  StartServer();
  const auto program = Run({"doctor", "--json"});
  program->Wait();
  bool saw_server = false;
  bool saw_model = false;
  for (const auto& line : JsonLines(program->out())) {
    if (line["subject"] == "server") {
      saw_server = true;
      EXPECT_EQ(line["level"], "warning");  // the fake's version is another
    }
    if (line["subject"] == "model dit") {
      saw_model = true;
      EXPECT_EQ(line["level"], "ok");
    }
  }
  EXPECT_TRUE(saw_server && saw_model);
  // Who may not ask what operators may is not told that the server is missing.
  admin_server_ = "127.0.0.1:1";
  const auto tenant = Run({"doctor"});
  tenant->Wait();
  EXPECT_THAT(tenant->out(), HasSubstr("ok       server           " + server_ + " answers"));
  EXPECT_THAT(tenant->out(), HasSubstr("model dit"));
}

}  // namespace
}  // namespace darkroom
