// What the daemon adds to a step, and how busy it keeps a worker. Prints its figures; the bounds
// asserted here are loose enough for a machine that also does other things, and DARKROOM_STRICT=1
// asserts the targets.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

bool Strict() { return std::getenv("DARKROOM_STRICT") != nullptr; }

double Percentile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(p * static_cast<double>(values.size() - 1))];
}

// How much longer than asked the machine itself sleeps: the floor of what can be measured here.
std::vector<double> SleepOvershootUs(int count) {
  std::vector<double> over;
  for (int i = 0; i < count; ++i) {
    const absl::Time start = absl::Now();
    absl::SleepFor(absl::Milliseconds(5));
    over.push_back(absl::ToDoubleMicroseconds(absl::Now() - start) - 5000);
  }
  return over;
}

// Start and end of every step, on the monotonic clock, as the worker saw them.
std::vector<std::pair<int64_t, int64_t>> ReadTimeline(const std::string& path) {
  std::vector<std::pair<int64_t, int64_t>> steps;
  std::ifstream file(path);
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  while (file >> start_ns >> end_ns) steps.emplace_back(start_ns, end_ns);
  return steps;
}

TEST(LatencyTest, AddsLittleToAStepOfFiveMilliseconds) {
  constexpr int kSteps = 1000;
  TempFolder folder;
  DaemonProcess daemon({folder.Path("fake"),
                        folder.Path("state"),
                        true,
                        {},
                        {{"DARKROOM_FAKE_STEP_US", "5000"},
                         {"DARKROOM_FAKE_PROBE_US", "0"},
                         {"DARKROOM_FAKE_TIMELINE", folder.Path("timeline")}}});
  ASSERT_NO_FATAL_FAILURE(daemon.Start());
  std::map<int, int64_t> arrivals;  // by step, from 1
  const absl::Status status = daemon.client().Generate(
      PictureRequest("a", 64, kSteps, 1),
      [&](const v1::GenerateEvent& event) {
        if (event.has_progress()) {
          arrivals[event.progress().step()] = Clock::Real().MonotonicNanos();
        }
        return absl::OkStatus();
      },
      nullptr);
  ASSERT_TRUE(status.ok()) << status;
  const auto steps = ReadTimeline(folder.Path("timeline"));
  ASSERT_EQ(steps.size(), static_cast<size_t>(kSteps));
  // What the daemon adds to a step is the time that the worker spends between two; what a watcher
  // waits for the news of it is another thing, and ends in the client's own threads.
  std::vector<double> between;
  std::vector<double> news;
  for (int i = 0; i + 1 < kSteps; ++i) {
    between.push_back(static_cast<double>(steps[i + 1].first - steps[i].second) / 1000);
    if (arrivals.contains(i + 1)) {
      news.push_back(static_cast<double>(arrivals[i + 1] - steps[i].second) / 1000);
    }
  }
  // Progress is conflated for a slow reader; this one must have kept up.
  ASSERT_GT(news.size(), kSteps * 9u / 10);
  const auto floor = SleepOvershootUs(200);
  std::printf("us between two steps: p50 %.0f p99 %.0f max %.0f\n", Percentile(between, 0.5),
              Percentile(between, 0.99), Percentile(between, 1.0));
  std::printf("us from a step's end to its news at the client: p50 %.0f p99 %.0f\n",
              Percentile(news, 0.5), Percentile(news, 0.99));
  std::printf("us that a bare 5 ms sleep takes longer here: p50 %.0f p99 %.0f\n",
              Percentile(floor, 0.5), Percentile(floor, 0.99));
  EXPECT_LT(Percentile(between, 0.5), 300);
  EXPECT_LT(Percentile(news, 0.5), 3000);
  if (Strict()) {
    EXPECT_LT(Percentile(between, 0.99), 300);
  }
}

TEST(LatencyTest, KeepsARealWorkerBusy) {
  constexpr int kClients = 16;
  TempFolder folder;
  DaemonProcess daemon(
      {DARKROOM_SOURCE_DIR "/deploy/models/emoji-dit", folder.Path("state"), false, {}, {}});
  ASSERT_NO_FATAL_FAILURE(daemon.Start());
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      Client client(daemon.server());
      for (int n = 0; !stop; ++n) {
        const auto made = GenerateAndWait(client, PictureRequest("pizza", 64, 20, i * 1000 + n));
        ASSERT_TRUE(made.ok()) << made.status();
      }
    });
  }
  absl::SleepFor(absl::Seconds(Strict() ? 15 : 6));
  const auto info = daemon.client().GetServerInfo();
  stop = true;
  for (auto& client : clients) client.join();
  ASSERT_TRUE(info.ok()) << info.status();
  std::printf("a worker under %d clients is inside quanta %.1f%% of the time\n", kClients,
              100 * info->workers(0).busy_ratio());
  EXPECT_GT(info->workers(0).busy_ratio(), Strict() ? 0.9 : 0.5);
}

}  // namespace
}  // namespace darkroom::testing
