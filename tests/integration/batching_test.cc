// Anything batches with anything, and nobody can tell: pictures made in company are those made
// alone, bit for bit.

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

constexpr int kClients = 16;

// Each family with what its requests can differ in.
struct Family {
  const char* name;
  const char* model;
  std::vector<v1::GenerateRequest> (*requests)(const v1::Model& model);
  // So long that it can be cancelled before it ends.
  int endless_steps;
  // Steps that take longer are cut between blocks; those alone are whole.
  int quantum_ms = 0;
};

struct Wanted {
  v1::GenerateRequest request;
  std::string sha256;
  std::string numerics_id;
};

// Mixed sizes, step counts, guidance, classes and seeds.
std::vector<v1::GenerateRequest> DitRequests(const v1::Model& model) {
  std::mt19937 random(7);
  std::vector<v1::GenerateRequest> requests;
  const int sizes[] = {32, 48, 64, 64, 96, 128};
  for (int i = 0; i < kClients; ++i) {
    std::string prompt = model.classes(static_cast<int>(random() % model.classes_size()));
    prompt = prompt.substr(0, prompt.find(','));
    requests.push_back(PictureRequest(prompt, sizes[random() % 6],
                                      5 + static_cast<int>(random() % 30),
                                      static_cast<int64_t>(random()), i % 3 == 0 ? 1.0 : 2.0 + i));
  }
  return requests;
}

// Mixed shapes, prompts of mixed lengths, guidance of both kinds, samplers, step counts and seeds.
std::vector<v1::GenerateRequest> FluxRequests(const v1::Model& model) {
  std::mt19937 random(8);
  std::vector<v1::GenerateRequest> requests;
  const int multiple = model.limits().size_multiple_of();
  const char* prompts[] = {"a red apple", "two green apples on a table", "", "red red red red red"};
  const char* samplers[] = {"flow_match_euler", "flow_match_heun"};
  for (int i = 0; i < kClients; ++i) {
    v1::GenerateRequest request =
        PictureRequest(prompts[i % 4], 0, 3 + static_cast<int>(random() % 20),
                       static_cast<int64_t>(random()), 1.0 + i % 5);
    request.set_width(multiple * static_cast<int>(2 + random() % 12));
    request.set_height(multiple * static_cast<int>(2 + random() % 12));
    v1::Sampling& sampling = *request.mutable_sampling();
    sampling.set_sampler(samplers[i / 4 % 2]);
    sampling.set_max_sequence_length(i % 3 == 0 ? 24 : 40);
    if (i % 2 == 1) {
      request.set_negative_prompt(prompts[(i + 1) % 4]);
      sampling.set_true_cfg_scale(1.5 + i);
    }
    requests.push_back(request);
  }
  return requests;
}

const Family kFamilies[] = {
    {"Dit", DARKROOM_SOURCE_DIR "/tests/golden/fixtures/dit_base/model", &DitRequests, 200},
    {"Flux", DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_dev/model", &FluxRequests, 1000},
    {"DitCut", DARKROOM_SOURCE_DIR "/tests/golden/fixtures/dit_base/model", &DitRequests, 200, 1},
    {"FluxCut", DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_dev/model", &FluxRequests, 1000,
     1},
};

class BatchingTest : public ::testing::TestWithParam<Family> {
 protected:
  BatchingTest()
      : daemon_({GetParam().model,
                 folder_.Path("state"),
                 false,
                 {"--checkpoint-steps", "3", "--config", folder_.Path("config.yaml")},
                 {}}) {}

  void Start(int quantum_ms) {
    folder_.Write("config.yaml",
                  absl::StrCat("scheduler: {quantum_milliseconds: ", quantum_ms, "}\n"));
    ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  }

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(Start(0));
    const auto models = daemon_.client().ListModels();
    ASSERT_TRUE(models.ok());
    for (v1::GenerateRequest& request : GetParam().requests(models->front())) {
      Wanted& one = wanted_.emplace_back(Wanted{std::move(request), "", ""});
      const auto alone = GenerateAndWait(daemon_.client(), one.request);
      ASSERT_TRUE(alone.ok()) << alone.status();
      ASSERT_EQ(alone->state(), v1::Generation::STATE_SUCCEEDED) << alone->ShortDebugString();
      one.sha256 = alone->outputs(0).sha256();
      one.numerics_id = alone->numerics_id();
    }
    if (GetParam().quantum_ms == 0) return;
    ASSERT_EQ(daemon_.Terminate(absl::Seconds(30)), 0);
    ASSERT_NO_FATAL_FAILURE(Start(GetParam().quantum_ms));
  }

  // Every client asks for its picture `rounds` times while `disturb` happens beside them.
  template <typename Disturb>
  void AskTogether(int rounds, Disturb disturb) {
    std::atomic<int> left{kClients};
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([&, i] {
        Client client(daemon_.server());
        for (int round = 0; round < rounds; ++round) {
          // Joining at different moments.
          absl::SleepFor(absl::Milliseconds((i * 7 + round * 3) % 23));
          const Wanted& one = wanted_[(i + round) % kClients];
          const auto made = GenerateAndWait(client, one.request);
          if (!made.ok() || made->outputs_size() != 1) {
            ADD_FAILURE() << "no picture: " << made.status()
                          << (made.ok() ? made->ShortDebugString() : "");
            break;
          }
          EXPECT_EQ(made->outputs(0).sha256(), one.sha256)
              << "client " << i << ": " << one.request.ShortDebugString();
          EXPECT_EQ(made->numerics_id(), one.numerics_id);
        }
        --left;
      });
    }
    while (left > 0) disturb();
    for (auto& client : clients) client.join();
  }

  TempFolder folder_;
  DaemonProcess daemon_;
  std::vector<Wanted> wanted_;
};

TEST_P(BatchingTest, TogetherAsAlone) {
  int64_t parked_bytes = 0;
  AskTogether(4, [&] {
    absl::SleepFor(absl::Milliseconds(5));
    const auto info = daemon_.client().GetServerInfo();
    ASSERT_TRUE(info.ok()) << info.status();
    parked_bytes = std::max(parked_bytes, info->workers(0).parked_bytes());
  });
  EXPECT_EQ(parked_bytes > 0, GetParam().quantum_ms > 0);
}

TEST_P(BatchingTest, WhileOthersJoinAndAreCancelled) {
  std::mt19937 random(3);
  Client other(daemon_.server());
  int cancelled = 0;
  AskTogether(4, [&] {
    v1::GenerateRequest request = wanted_[random() % kClients].request;
    request.mutable_sampling()->set_steps(GetParam().endless_steps);
    const auto victim = other.CreateGeneration(request);
    ASSERT_TRUE(victim.ok()) << victim.status();
    absl::SleepFor(absl::Milliseconds(random() % 30));
    const auto gone = other.CancelGeneration(victim->name());
    ASSERT_TRUE(gone.ok()) << gone.status();
    cancelled += gone->state() == v1::Generation::STATE_CANCELLED;
  });
  EXPECT_GT(cancelled, 0);
}

TEST_P(BatchingTest, WhileTheirWorkerIsKilled) {
  int killed = 0;
  AskTogether(4, [&] {
    absl::SleepFor(absl::Milliseconds(150));
    if (killed < 3 && daemon_.KillWorker()) ++killed;
  });
  EXPECT_GT(killed, 0);
  const auto info = daemon_.client().GetServerInfo();
  ASSERT_TRUE(info.ok());
  EXPECT_GE(info->workers(0).restarts(), killed);
}

INSTANTIATE_TEST_SUITE_P(Families, BatchingTest, ::testing::ValuesIn(kFamilies),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace darkroom::testing
