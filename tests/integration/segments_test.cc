// A short picture does not wait for the whole step of a long one, on a real daemon.

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/wall_time.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

// A step of the large picture: 8,192 tokens at 100 us. One of the small takes 3 ms.
constexpr int kLarge = 1024;
constexpr int kSmall = 64;
constexpr absl::Duration kStep = absl::Milliseconds(819);

class SegmentsTest : public ::testing::Test {
 protected:
  void Start(int quantum_ms) {
    std::ofstream(folder_.Path("config.yaml"))
        << "scheduler: {quantum_milliseconds: " << quantum_ms << "}\n";
    DaemonProcess::Options options;
    options.model = folder_.Path("fake");
    options.state = folder_.Path(absl::StrCat("state-", quantum_ms));
    options.fake_worker = true;
    options.arguments = {"--config", folder_.Path("config.yaml")};
    options.environment = {{"DARKROOM_FAKE_STEP_US", "0"},
                           {"DARKROOM_FAKE_TOKEN_NS", "100000"},
                           {"DARKROOM_FAKE_BLOCKS", "40"}};
    daemon_ = std::make_unique<DaemonProcess>(options);
    ASSERT_NO_FATAL_FAILURE(daemon_->Start());
  }

  // A short picture that comes when a step of a large one has just begun: until its end. And the
  // large one's digest.
  absl::Duration Latency(std::string& large_sha) {
    absl::Duration took;
    std::thread small;
    const absl::Status status = daemon_->client().Generate(
        PictureRequest("large", kLarge, 4, 1),
        [&](const v1::GenerateEvent& event) {
          if (event.has_completed()) large_sha = event.completed().generation().outputs(0).sha256();
          if (!event.has_progress() || event.progress().step() != 1 || small.joinable()) {
            return absl::OkStatus();
          }
          small = std::thread([&] {
            Client client(daemon_->server());
            const absl::Time asked = absl::Now();
            const auto made = GenerateAndWait(client, PictureRequest("small", kSmall, 3, 2));
            took = absl::Now() - asked;
            EXPECT_TRUE(made.ok()) << made.status();
          });
          return absl::OkStatus();
        },
        nullptr);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(small.joinable()) << "no progress was seen";
    if (small.joinable()) small.join();
    return took;
  }

  TempFolder folder_;
  std::unique_ptr<DaemonProcess> daemon_;
};

TEST_F(SegmentsTest, AShortPictureComesInsideAStepOfALongOne) {
  std::string whole_sha;
  std::string cut_sha;
  ASSERT_NO_FATAL_FAILURE(Start(0));
  const absl::Duration behind_whole = Latency(whole_sha);
  ASSERT_NO_FATAL_FAILURE(Start(50));
  const absl::Duration behind_part = Latency(cut_sha);
  std::printf("a short picture took %s behind whole steps of %s, %s behind cut ones\n",
              absl::FormatDuration(behind_whole).c_str(), absl::FormatDuration(kStep).c_str(),
              absl::FormatDuration(behind_part).c_str());
  EXPECT_GT(behind_whole, 0.7 * kStep);
  EXPECT_LT(behind_part, 0.5 * kStep);
  EXPECT_EQ(cut_sha, whole_sha);
  EXPECT_FALSE(whole_sha.empty());
}

TEST_F(SegmentsTest, WhatWaitsInsideAStepIsCountedAndGoesWithItsPicture) {
  ASSERT_NO_FATAL_FAILURE(Start(50));
  const auto large = daemon_->client().CreateGeneration(PictureRequest("large", kLarge, 50, 1));
  ASSERT_TRUE(large.ok()) << large.status();
  const auto parked = [&]() -> int64_t {
    const auto info = daemon_->client().GetServerInfo();
    return info.ok() ? info->workers(0).parked_bytes() : -1;
  };
  // The server tells of itself as it was up to a tick ago.
  const auto wait_for = [&](bool some) {
    const absl::Time give_up = absl::Now() + absl::Seconds(20);
    while ((parked() > 0) != some && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(20));
    return (parked() > 0) == some;
  };
  EXPECT_TRUE(wait_for(true));
  ASSERT_TRUE(daemon_->client().CancelGeneration(large->name()).ok());
  const auto small = GenerateAndWait(daemon_->client(), PictureRequest("small", kSmall, 3, 2));
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_TRUE(wait_for(false)) << parked();
}

TEST_F(SegmentsTest, AWorkerThatDiesInsideAStepCostsItsSteps) {
  ASSERT_NO_FATAL_FAILURE(Start(50));
  const v1::GenerateRequest request = PictureRequest("large", kLarge, 3, 1);
  const auto alone = GenerateAndWait(daemon_->client(), request);
  ASSERT_TRUE(alone.ok()) << alone.status();
  const auto again = daemon_->client().CreateGeneration(request);
  ASSERT_TRUE(again.ok()) << again.status();
  absl::SleepFor(1.5 * kStep);
  ASSERT_TRUE(daemon_->KillWorker());
  const auto ended = GenerateAndWait(daemon_->client(), PictureRequest("small", kSmall, 3, 2));
  ASSERT_TRUE(ended.ok()) << ended.status();
  absl::StatusOr<v1::Generation> found = again;
  const absl::Time give_up = absl::Now() + absl::Seconds(60);
  while (found.ok() && found->state() != v1::Generation::STATE_SUCCEEDED && absl::Now() < give_up) {
    absl::SleepFor(absl::Milliseconds(20));
    found = daemon_->client().GetGeneration(again->name(), false);
  }
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->state(), v1::Generation::STATE_SUCCEEDED) << found->ShortDebugString();
  EXPECT_EQ(found->outputs(0).sha256(), alone->outputs(0).sha256());
  EXPECT_EQ(found->steps_done(), 3);
}

}  // namespace
}  // namespace darkroom::testing
