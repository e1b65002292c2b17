// Sends a daemon requests and tells what came of them, as one JSON object: validate_simulator.py
// runs it. Arrivals are Poisson, at times that do not depend on the answers, or with --clients each
// client sends its next request when its last has ended.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/wall_time.h"
#include "client/client.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

constexpr absl::Duration kGrace = absl::Milliseconds(500);
constexpr absl::Duration kLongest = absl::Minutes(10);

struct Flags {
  std::string server;
  std::vector<std::string> tenants = {"local"};
  std::vector<int> steps = {4, 8, 12, 20};
  std::vector<int> sizes = {64};
  std::string prompt = "red apple";
  int requests = 100;
  double rate = 1;  // per second, all tenants together
  int burst = 1;    // of the first tenant: so many at once, as often less
  int clients = 0;
  double slack = 4;
  uint64_t seed = 1;
};

struct Sent {
  absl::Time at;
  absl::Time deadline;
};

class Load {
 public:
  explicit Load(Flags flags) : flags_(std::move(flags)) {}

  int Run() {
    if (!MeasureSolo()) return 1;
    const absl::Time begin = absl::Now();
    std::vector<std::thread> threads;
    const int senders =
        flags_.clients > 0 ? flags_.clients : static_cast<int>(flags_.tenants.size());
    for (int i = 0; i < senders; ++i) {
      threads.emplace_back([this, i, begin] { flags_.clients > 0 ? Loop(i) : SendOpen(i, begin); });
    }
    for (std::thread& thread : threads) thread.join();
    const absl::Time sent = absl::Now();
    if (!AwaitEnd()) return 1;
    Report(sent - begin, absl::Now() - begin);
    return 0;
  }

 private:
  v1::GenerateRequest Request(int steps, int size, int64_t seed) const {
    v1::GenerateRequest request;
    request.set_prompt(flags_.prompt);
    request.set_width(size);
    request.set_height(size);
    request.mutable_sampling()->set_steps(steps);
    request.mutable_sampling()->set_seed(seed);
    return request;
  }

  // What each kind of request takes alone, as the daemon predicts it now.
  bool MeasureSolo() {
    Client client(flags_.server, flags_.tenants.front());
    for (const int steps : flags_.steps) {
      for (const int size : flags_.sizes) {
        const auto estimate = client.EstimateGeneration(Request(steps, size, 0));
        if (!estimate.ok()) {
          std::fprintf(stderr, "%s\n", estimate.status().ToString().c_str());
          return false;
        }
        solo_[{steps, size}] = absl::Nanoseconds(estimate->accelerator_nanos());
      }
    }
    return true;
  }

  std::string SendOne(Client& client, std::mt19937_64& random) {
    const auto pick = [&](const std::vector<int>& of) { return of[random() % of.size()]; };
    const int steps = pick(flags_.steps);
    const int size = pick(flags_.sizes);
    v1::GenerateRequest request = Request(steps, size, static_cast<int64_t>(random() >> 32));
    Sent sent{absl::Now(), {}};
    sent.deadline = sent.at + flags_.slack * solo_.at({steps, size}) + kGrace;
    *request.mutable_deadline() = ToTimestamp(sent.deadline);
    const auto generation = client.CreateGeneration(request);
    MutexLock lock(mutex_);
    ++sent_;
    if (!generation.ok()) {
      ++refusals_[ErrorReason(generation.status())];
      return "";
    }
    open_[generation->name()] = sent;
    return generation->name();
  }

  // Exponential gaps; a sender that is late for one sends it at once.
  void SendOpen(int index, absl::Time begin) {
    Client client(flags_.server, flags_.tenants[static_cast<size_t>(index)]);
    std::mt19937_64 random(flags_.seed * 1000 + static_cast<uint64_t>(index));
    const auto senders = static_cast<int>(flags_.tenants.size());
    const int burst = index == 0 ? flags_.burst : 1;
    const double rate = flags_.rate / senders / burst;
    absl::Time next = begin;
    for (int left = flags_.requests / senders; left > 0;) {
      const double uniform = static_cast<double>(random() >> 11) * 0x1.0p-53;
      next += absl::Seconds(-std::log1p(-uniform) / rate);
      absl::SleepFor(next - absl::Now());
      for (int i = 0; i < burst && left > 0; ++i, --left) SendOne(client, random);
    }
  }

  void Loop(int index) {
    Client client(flags_.server,
                  flags_.tenants[static_cast<size_t>(index) % flags_.tenants.size()]);
    std::mt19937_64 random(flags_.seed * 1000 + static_cast<uint64_t>(index));
    while (begun_.fetch_add(1) < flags_.requests) {
      const std::string name = SendOne(client, random);
      if (name.empty()) continue;
      client
          .WatchGeneration(
              name, 0, [](const v1::GenerateEvent&) { return absl::OkStatus(); }, nullptr)
          .IgnoreError();
    }
  }

  bool AwaitEnd() {
    const absl::Time give_up = absl::Now() + kLongest;
    for (const std::string& tenant : flags_.tenants) {
      Client client(flags_.server, tenant);
      v1::ListGenerationsRequest live;
      live.set_page_size(1);
      live.add_states(v1::Generation::STATE_QUEUED);
      live.add_states(v1::Generation::STATE_RUNNING);
      for (auto page = client.ListGenerations(live); page.ok() && page->generations_size() > 0;
           page = client.ListGenerations(live)) {
        if (absl::Now() > give_up) return false;
        absl::SleepFor(absl::Milliseconds(200));
      }
      if (!Collect(client)) return false;
    }
    return true;
  }

  bool Collect(Client& client) {
    MutexLock lock(mutex_);
    v1::ListGenerationsRequest request;
    request.set_page_size(1000);
    do {
      const auto page = client.ListGenerations(request);
      if (!page.ok()) return false;
      for (const v1::Generation& generation : page->generations()) {
        const auto sent = open_.find(generation.name());
        if (sent == open_.end()) continue;  // of an earlier run
        if (generation.state() != v1::Generation::STATE_SUCCEEDED) {
          ++refusals_["FAILED"];
          continue;
        }
        const absl::Time end = FromTimestamp(generation.end_time());
        seconds_.push_back(absl::ToDoubleSeconds(end - sent->second.at));
        // Until a worker turned to it, by the daemon's clock.
        waits_.push_back(absl::ToDoubleSeconds(FromTimestamp(generation.start_time()) -
                                               FromTimestamp(generation.create_time())));
        met_ += end <= sent->second.deadline ? 1 : 0;
      }
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty());
    return true;
  }

  void Report(absl::Duration sending, absl::Duration all) {
    MutexLock lock(mutex_);
    std::sort(seconds_.begin(), seconds_.end());
    std::sort(waits_.begin(), waits_.end());
    const auto of = [](const std::vector<double>& sorted, double share) {
      const double last = static_cast<double>(sorted.size()) - 1;
      return sorted.empty() ? 0.0 : sorted[static_cast<size_t>(share * last)];
    };
    const auto at = [&](double share) { return of(seconds_, share); };
    nlohmann::ordered_json out = {{"sent", sent_},
                                  {"ended", seconds_.size()},
                                  {"refused", refusals_},
                                  {"attainment", static_cast<double>(met_) / sent_},
                                  {"p50_s", at(0.50)},
                                  {"p95_s", at(0.95)},
                                  {"p99_s", at(0.99)},
                                  {"wait_p50_s", of(waits_, 0.50)},
                                  {"wait_p99_s", of(waits_, 0.99)},
                                  {"sending_s", absl::ToDoubleSeconds(sending)},
                                  {"seconds", absl::ToDoubleSeconds(all)}};
    std::printf("%s\n", out.dump(2).c_str());
  }

  const Flags flags_;
  std::map<std::pair<int, int>, absl::Duration> solo_;
  std::atomic<int> begun_{0};
  Mutex mutex_;
  int sent_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> refusals_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Sent> open_ ABSL_GUARDED_BY(mutex_);
  std::vector<double> seconds_;
  std::vector<double> waits_;
  int met_ = 0;
};

int Main(int argc, char** argv) {
  CLI::App app("Sends a daemon requests and tells what came of them");
  Flags flags;
  app.add_option("--server", flags.server, "host:port")->required();
  app.add_option("--tenants", flags.tenants)->delimiter(',');
  app.add_option("--steps", flags.steps, "drawn from evenly")->delimiter(',');
  app.add_option("--sizes", flags.sizes, "drawn from evenly")->delimiter(',');
  app.add_option("--prompt", flags.prompt);
  app.add_option("--requests", flags.requests)->check(CLI::Range(1, 100'000));
  app.add_option("--rate", flags.rate, "per second, of all tenants")->check(CLI::Range(0.01, 1e5));
  app.add_option("--burst", flags.burst, "of the first tenant")->check(CLI::Range(1, 1000));
  app.add_option("--clients", flags.clients, "that wait for their answers instead")
      ->check(CLI::Range(0, 256));
  app.add_option("--slack", flags.slack, "deadline: so many times alone, and .5 s")
      ->check(CLI::Range(0.1, 1000.0));
  app.add_option("--seed", flags.seed);
  CLI11_PARSE(app, argc, argv);
  return Load(std::move(flags)).Run();
}

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) { return darkroom::Main(argc, argv); }
