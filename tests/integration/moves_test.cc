// A started picture goes on at another worker where that is sooner, with the same bits.

#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

class MovesTest : public ::testing::Test {
 protected:
  // Two workers whose steps hold one picture each and take 5 ms.
  MovesTest()
      : daemon_({folder_.Path("fake"),
                 folder_.Path("state"),
                 true,
                 {"--workers", "2", "--step-tokens-max", "1"},
                 {{"DARKROOM_FAKE_STEP_US", "5000"}},
                 /*credential=*/"",
                 /*log_level=*/"debug"}) {}

  static v1::GenerateRequest Request(const std::string& prompt, int steps) {
    return PictureRequest(prompt, 64, steps, 7, 1.0);
  }

  void WaitForWorkers() {
    const absl::Time give_up = absl::Now() + absl::Seconds(30);
    for (int ready = 0; ready < 2 && absl::Now() < give_up;) {
      ready = 0;
      const auto info = daemon_.client().GetServerInfo();
      ASSERT_TRUE(info.ok()) << info.status();
      for (const auto& worker : info->workers()) {
        ready += worker.state() == v1::ServerInfo::Worker::STATE_READY;
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  // The long picture, after `disturb` has happened beside it.
  template <typename Disturb>
  v1::Generation LongBeside(Disturb disturb) {
    const auto made = daemon_.client().CreateGeneration(Request("long", kLongSteps));
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return {};
    disturb();
    v1::Generation ended;
    const absl::Status status = daemon_.client().WatchGeneration(
        made->name(), 0,
        [&](const v1::GenerateEvent& event) {
          if (event.has_completed()) ended = event.completed().generation();
          return absl::OkStatus();
        },
        nullptr);
    EXPECT_TRUE(status.ok()) << status;
    return ended;
  }

  // A shorter picture takes the long one's worker, and the other worker gets free meanwhile.
  void PushAside() {
    EXPECT_TRUE(daemon_.client().CreateGeneration(Request("other", 260)).ok());
    absl::SleepFor(absl::Milliseconds(1100));
    EXPECT_TRUE(daemon_.client().CreateGeneration(Request("shorter", 250)).ok());
  }
  bool Moved() const { return absl::StrContains(daemon_.log(), "goes on at worker"); }

  static constexpr int kLongSteps = 700;
  TempFolder folder_;
  DaemonProcess daemon_;
};

TEST_F(MovesTest, AStartedPictureGoesOnElsewhereWithTheSameBits) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  ASSERT_NO_FATAL_FAILURE(WaitForWorkers());
  const v1::Generation alone = LongBeside([] {});
  ASSERT_EQ(alone.state(), v1::Generation::STATE_SUCCEEDED);
  EXPECT_FALSE(Moved()) << "it had no reason to";
  const v1::Generation moved = LongBeside([&] { PushAside(); });
  ASSERT_EQ(moved.state(), v1::Generation::STATE_SUCCEEDED);
  EXPECT_TRUE(Moved()) << daemon_.log();
  EXPECT_EQ(moved.outputs(0).sha256(), alone.outputs(0).sha256());
  EXPECT_EQ(moved.steps_done(), kLongSteps);
  EXPECT_EQ(moved.usage().retries(), 0) << "a move is no retry";
}

TEST_F(MovesTest, AndAfterItsWorkerDied) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  ASSERT_NO_FATAL_FAILURE(WaitForWorkers());
  const v1::Generation alone = LongBeside([] {});
  const v1::Generation moved = LongBeside([&] {
    PushAside();
    const absl::Time give_up = absl::Now() + absl::Seconds(10);
    while (!Moved() && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(5));
    // Both, so that the one that has it is among them.
    EXPECT_TRUE(daemon_.KillWorker());
    absl::SleepFor(absl::Milliseconds(300));
    EXPECT_TRUE(daemon_.KillWorker());
  });
  ASSERT_EQ(moved.state(), v1::Generation::STATE_SUCCEEDED);
  EXPECT_TRUE(Moved()) << daemon_.log();
  EXPECT_EQ(moved.outputs(0).sha256(), alone.outputs(0).sha256());
}

}  // namespace
}  // namespace darkroom::testing
