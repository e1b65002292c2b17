// What a model costs a machine that runs several workers of it: its weights are packed once and
// mapped by all. Sizes are proportional (PSS): a page that n processes map counts 1/n in each.

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/process_memory.h"
#include "testing/temp_folder.h"
#include "testing/tiny_dit_model.h"

namespace darkroom::testing {
namespace {

constexpr int kWorkers = 2;
constexpr absl::Duration kTimeout = absl::Seconds(120);
// What the processes hold besides weights: programs and libraries, and the activations of a model
// whose pictures have 16 tokens.
constexpr int64_t kBesidesBytes = int64_t{24} << 20;

// The workers' process ids once all are ready.
std::vector<pid_t> ReadyWorkers(Client& client) {
  const absl::Time deadline = absl::Now() + kTimeout;
  while (absl::Now() < deadline) {
    std::vector<pid_t> pids;
    const auto info = client.GetServerInfo();
    if (!info.ok()) break;
    for (const auto& worker : info->workers()) {
      if (worker.state() == v1::ServerInfo::Worker::STATE_READY) pids.push_back(worker.pid());
    }
    if (pids.size() == kWorkers) return pids;
    absl::SleepFor(absl::Milliseconds(5));
  }
  ADD_FAILURE() << "the workers did not become ready";
  return {};
}

TEST(SharedWeightsTest, WorkersMapOnePackedModel) {
  TinyDitModel model;
  model.heads = 12;
  model.head_dim = 64;
  model.layers = 5;
  model.Build();
  int64_t weights_bytes = 0;
  for (const TensorMap* tensors : {&model.transformer, &model.vae}) {
    for (const auto& [name, tensor] : *tensors) {
      weights_bytes += static_cast<int64_t>(tensor.second.size() * sizeof(float));
    }
  }
  TempFolder folder;
  model.Write(folder);
  TempFolder state;
  DaemonProcess daemon({.model = folder.path(),
                        .state = state.path(),
                        .arguments = {"--workers", absl::StrCat(kWorkers)}});
  const absl::Time begin = absl::Now();
  daemon.Start();
  const absl::Duration first = absl::Now() - begin;
  std::vector<pid_t> workers = ReadyWorkers(daemon.client());
  const absl::Duration both = absl::Now() - begin;

  // Pictures enough that every worker has read all of its weights.
  const v1::GenerateRequest request = PictureRequest("goldfish", 16, 4, 7);
  std::string sha256;
  const auto generate = [&] {
    for (int i = 0; i < 2 * kWorkers; ++i) {
      const auto made = GenerateAndWait(daemon.client(), request);
      ASSERT_TRUE(made.ok()) << made.status();
      ASSERT_EQ(made->outputs_size(), 1);
      if (sha256.empty()) sha256 = made->outputs(0).sha256();
      EXPECT_EQ(made->outputs(0).sha256(), sha256);
    }
  };
  const auto total = [&] {
    int64_t bytes = PssBytes(daemon.pid());
    for (const pid_t pid : workers) bytes += PssBytes(pid);
    return bytes;
  };
  generate();
  const int64_t used = total();
  EXPECT_GE(used, weights_bytes) << "the weights must have been read";
  EXPECT_LE(used, weights_bytes * 5 / 4 + kBesidesBytes);

  // The weights outlive the worker that packed them.
  const absl::Time killed = absl::Now();
  for (const pid_t pid : workers) ASSERT_EQ(::kill(pid, SIGKILL), 0);
  const auto old_gone = [&](const std::vector<pid_t>& now) {
    return now.size() == kWorkers && now[0] != workers[0] && now[1] != workers[1];
  };
  std::vector<pid_t> next = ReadyWorkers(daemon.client());
  while (!old_gone(next) && absl::Now() - killed < kTimeout) next = ReadyWorkers(daemon.client());
  const absl::Duration again = absl::Now() - killed;
  workers = next;
  generate();
  const int64_t used_again = total();
  EXPECT_LE(used_again, weights_bytes * 5 / 4 + kBesidesBytes);
  std::cout << weights_bytes / 1e6 << " MB of weights; daemon and " << kWorkers
            << " workers: " << used / 1e6 << " MB, after a restart " << used_again / 1e6
            << " MB; ready after " << first << ", both after " << both << ", both again after "
            << again << "\n";
}

}  // namespace
}  // namespace darkroom::testing
