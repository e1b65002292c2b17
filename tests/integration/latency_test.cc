// What the daemon adds to a step, and how busy it keeps a worker. Prints its figures; the bounds
// asserted here are loose enough for a machine that also does other things, and DARKROOM_STRICT=1
// asserts the targets.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "darkroom/v1/generation.grpc.pb.h"
#include "grpcpp/grpcpp.h"
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

// A server that only sleeps and writes: what gRPC and the client's own threads take of the time
// that news of a step is on its way.
class BareStream final : public v1::GenerationService::Service {
 public:
  explicit BareStream(int steps) : written_ns_(static_cast<size_t>(steps)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~BareStream() override { server_->Shutdown(); }
  BareStream(const BareStream&) = delete;
  BareStream& operator=(const BareStream&) = delete;

  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest*,
                        grpc::ServerWriter<v1::GenerateEvent>* writer) override {
    for (size_t i = 0; i < written_ns_.size(); ++i) {
      absl::SleepFor(absl::Milliseconds(5));
      v1::GenerateEvent event;
      event.set_sequence(static_cast<int64_t>(i) + 1);
      event.mutable_progress()->set_step(static_cast<int>(i) + 1);
      written_ns_[i] = Clock::Real().MonotonicNanos();
      writer->Write(event);
    }
    v1::GenerateEvent last;
    last.set_sequence(static_cast<int64_t>(written_ns_.size()) + 1);
    last.mutable_completed();
    writer->Write(last);
    return grpc::Status::OK;
  }

  // us from each write to the client's hands.
  std::vector<double> Measure() {
    std::vector<double> news;
    Client client(address_);
    const absl::Status status = client.Generate(
        PictureRequest("a", 64, 1, 1),
        [&](const v1::GenerateEvent& event) {
          if (event.has_progress()) {
            const int64_t now_ns = Clock::Real().MonotonicNanos();
            const auto step = static_cast<size_t>(event.progress().step()) - 1;
            news.push_back(static_cast<double>(now_ns - written_ns_[step]) / 1000);
          }
          return absl::OkStatus();
        },
        nullptr);
    EXPECT_TRUE(status.ok()) << status;
    return news;
  }

 private:
  std::vector<std::atomic<int64_t>> written_ns_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

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
  const auto bare = BareStream(kSteps).Measure();
  ASSERT_EQ(bare.size(), static_cast<size_t>(kSteps));
  std::printf("us between two steps: p50 %.0f p99 %.0f max %.0f\n", Percentile(between, 0.5),
              Percentile(between, 0.99), Percentile(between, 1.0));
  std::printf("us from a step's end to its news at the client: p50 %.0f p99 %.0f\n",
              Percentile(news, 0.5), Percentile(news, 0.99));
  std::printf("us from a bare gRPC server's write to the same client: p50 %.0f p99 %.0f\n",
              Percentile(bare, 0.5), Percentile(bare, 0.99));
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
      {DARKROOM_SOURCE_DIR "/deploy/models/emoji", folder.Path("state"), false, {}, {}});
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
