// What a real daemon keeps about its own scheduling: the decision log, which runs again with the
// same commands, and what steps cost, which the next start knows.

#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/subprocess.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

using ::testing::HasSubstr;

class RecordsTest : public ::testing::Test {
 protected:
  void Start(const std::string& config) {
    std::ofstream(folder_.Path("config.yaml")) << config;
    DaemonProcess::Options options;
    options.model = folder_.Path("fake");
    options.state = folder_.Path("state");
    options.fake_worker = true;
    options.arguments = {"--config", folder_.Path("config.yaml"), "--workers",
                         "2",        "--checkpoint-steps",        "3"};
    options.environment = {{"DARKROOM_FAKE_STEP_US", "1000"}, {"DARKROOM_FAKE_TOKEN_NS", "2000"}};
    daemon_ = std::make_unique<DaemonProcess>(options);
    ASSERT_NO_FATAL_FAILURE(daemon_->Start());
  }
  // Exit code and everything that it says.
  static std::pair<int, std::string> Replay(const std::string& path) {
    Subprocess replay({std::string(DARKROOM_BIN_DIR) + "/darkroom-sim", "--replay", path});
    const int code = replay.Wait();
    return {code, replay.out() + replay.err()};
  }
  std::string DecisionLog() const { return folder_.Path("state") + "/decisions/1.log"; }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  // Mixed sizes, lengths and tenants, some cancelled, at once.
  void Load() {
    std::vector<std::thread> clients;
    for (int c = 0; c < 6; ++c) {
      clients.emplace_back([this, c] {
        Client client(daemon_->server(), c % 2 == 0 ? "ada" : "");
        for (int i = 0; i < 15; ++i) {
          const auto request = PictureRequest("a lamp", 64 + 64 * (i % 3), 5 + (c * 7 + i) % 20, i);
          if (i % 5 == 4) {
            const auto made = client.CreateGeneration(request);
            if (made.ok()) client.CancelGeneration(made->name()).IgnoreError();
            continue;
          }
          EXPECT_TRUE(GenerateAndWait(client, request).ok());
        }
      });
    }
    absl::SleepFor(absl::Milliseconds(150));
    EXPECT_TRUE(daemon_->KillWorker());
    for (auto& client : clients) client.join();
  }

  TempFolder folder_;
  std::unique_ptr<DaemonProcess> daemon_;
};

TEST_F(RecordsTest, ADecisionLogRunsAgain) {
  Start("tenants: [{name: ada, weight: 2}]\nscheduler: {decision_log_bytes: 100000000}\n");
  Load();
  // In the middle of its work.
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(daemon_->client().CreateGeneration(PictureRequest("a lamp", 64, 50, i)).ok());
  }
  daemon_->Kill();
  const auto [code, said] = Replay(DecisionLog());
  EXPECT_EQ(code, 0) << said;
  EXPECT_THAT(said, HasSubstr("every one the same"));

  std::string log = Read(DecisionLog());
  ASSERT_GT(log.size(), 10'000u);
  const std::string damaged = folder_.Path("damaged");
  log[log.size() / 2] = static_cast<char>(log[log.size() / 2] ^ 4);
  std::ofstream(damaged, std::ios::binary) << log;
  const auto [damaged_code, told] = Replay(damaged);
  EXPECT_EQ(damaged_code, 1);
  EXPECT_THAT(told, ::testing::ContainsRegex("decision [0-9]+, at byte [0-9]+, is damaged"));

  const std::string torn = folder_.Path("torn");
  std::ofstream(torn, std::ios::binary) << Read(DecisionLog()).substr(0, log.size() - 3);
  const auto [torn_code, warned] = Replay(torn);
  EXPECT_EQ(torn_code, 0) << warned;
  EXPECT_THAT(warned, HasSubstr("were never completely written"));
}

TEST_F(RecordsTest, ALogStopsAtItsBound) {
  Start("tenants: [{name: ada}]\nscheduler: {decision_log_bytes: 40000}\n");
  Load();
  daemon_->Kill();
  const std::string log = Read(DecisionLog());
  EXPECT_LE(log.size(), 20'000u);
  EXPECT_GT(log.size(), 15'000u);
  const auto [code, said] = Replay(DecisionLog());
  EXPECT_EQ(code, 0) << said;
  EXPECT_THAT(daemon_->log(), HasSubstr("ends here: it has its bound"));
}

TEST_F(RecordsTest, CostsAreKnownAfterARestart) {
  Start("{}\n");
  const auto observed = [this] {
    const auto status = daemon_->client().GetStatus();
    EXPECT_TRUE(status.ok()) << status.status();
    int64_t observations = 0;
    for (const auto& cost : status->costs()) {
      if (cost.stage() == v1::STAGE_DENOISE) observations = cost.observations();
    }
    return observations;
  };
  ASSERT_TRUE(GenerateAndWait(daemon_->client(), PictureRequest("a lamp", 64, 40, 1)).ok());
  const int64_t before = observed();
  EXPECT_GE(before, 40);
  EXPECT_EQ(daemon_->Terminate(absl::Seconds(20)), 0);
  ASSERT_NO_FATAL_FAILURE(daemon_->Start());
  EXPECT_EQ(observed(), before) << "nothing has run since";
  EXPECT_EQ(daemon_->Terminate(absl::Seconds(20)), 0);

  const std::string path = folder_.Path("state") + "/costs";
  std::string text = Read(path);
  ASSERT_FALSE(text.empty());
  text[text.size() / 2] ^= 1;
  std::ofstream(path, std::ios::binary) << text;
  ASSERT_NO_FATAL_FAILURE(daemon_->Start());
  EXPECT_EQ(observed(), 0) << "measured anew";
  EXPECT_THAT(daemon_->log(), HasSubstr("is damaged or of another version; costs are measured"));
}

}  // namespace
}  // namespace darkroom::testing
