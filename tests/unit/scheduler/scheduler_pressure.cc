#include "scheduler_pressure.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kKnee = 512;
constexpr int kQuanta = 3000;

ReplicaSpec Worker(std::mt19937_64& random) {
  ReplicaSpec spec;
  spec.stages = StageBit(Stage::kDenoise);
  spec.models = {0};
  spec.slots = 400;
  spec.step_tokens_max = kKnee;
  spec.plans_in_flight_max = 1 + static_cast<int32_t>(random() % 2);
  const auto launch = static_cast<int64_t>(1 + random() % 10) * kMillisecond;
  const auto slope = static_cast<int64_t>(1 + random() % 100) * 1000;
  for (int64_t tokens = 64; tokens <= 4 * kKnee; tokens += 64) {
    spec.cost.push_back({Stage::kDenoise, tokens, std::max(launch, slope * tokens)});
  }
  return spec;
}

// Replicas that take their plans in order, as long as predicted.
class Pressure {
 public:
  Pressure(PolicyConfig config, const ReplicaSpec& spec, int replicas) : scheduler_(config) {
    for (ReplicaId id = 1; id <= replicas; ++id) {
      plans_[id];
      Send(ReplicaAttached{id, spec});
    }
  }

  void Submit(JobSpec spec) {
    spec.id = ++last_job_;
    spec.stages = StageBit(Stage::kDenoise);
    tenant_of_[spec.id] = spec.tenant;
    ++ready_[spec.tenant];
    Send(JobSubmitted{spec});
  }

  // The next quantum to end, ends.
  void Step() {
    auto next = plans_.end();
    for (auto it = plans_.begin(); it != plans_.end(); ++it) {
      if (it->second.empty()) continue;
      if (next == plans_.end() || it->second.front().second < next->second.front().second) {
        next = it;
      }
    }
    if (next == plans_.end()) return;
    const auto [plan, ends_ns] = next->second.front();
    next->second.pop_front();
    now_ns_ = std::max(now_ns_, ends_ns);
    PlanFinished finished{next->first, plan.sequence, plan.predicted_ns, {}};
    for (const auto& item : plan.items) {
      finished.items.push_back({item.job, PlanFinished::Outcome::kDone, false});
    }
    Send(finished);
  }

  Scheduler& scheduler() { return scheduler_; }
  int64_t now_ns() const { return now_ns_; }
  int64_t longest_ns() const { return longest_ns_; }
  JobId last_job() const { return last_job_; }
  int ready(TenantId tenant) { return ready_[tenant]; }
  int64_t ended_ns(JobId job) const {
    const auto it = ended_.find(job);
    return it == ended_.end() ? -1 : it->second;
  }

  void Send(const Event& event) {
    std::vector<Command> commands;
    scheduler_.Handle(event, now_ns_, commands);
    for (const Command& command : commands) {
      if (const auto* run = std::get_if<RunPlan>(&command)) {
        auto& queue = plans_[run->replica];
        const int64_t begins_ns = queue.empty() ? now_ns_ : queue.back().second;
        queue.emplace_back(*run, begins_ns + run->predicted_ns);
        longest_ns_ = std::max(longest_ns_, run->predicted_ns);
      } else if (const auto* finished = std::get_if<JobFinished>(&command)) {
        ended_[finished->job] = now_ns_;
        --ready_[tenant_of_[finished->job]];
      }
    }
  }

 private:
  Scheduler scheduler_;
  int64_t now_ns_ = 0;
  int64_t longest_ns_ = 0;
  JobId last_job_ = 0;
  std::map<ReplicaId, std::deque<std::pair<RunPlan, int64_t>>> plans_;
  std::map<JobId, TenantId> tenant_of_;
  std::map<TenantId, int> ready_;
  std::map<JobId, int64_t> ended_;
};

}  // namespace

std::string RunSharesTrace(uint64_t seed) {
  std::mt19937_64 random(seed);
  PolicyConfig config;
  config.priority = Priority::kStrict;
  config.burst_credit_ns = static_cast<int64_t>(random() % 20) * 10 * kMillisecond;
  const int replicas = 1 + static_cast<int>(random() % 2);
  Pressure pressure(config, Worker(random), replicas);
  const auto tenants = static_cast<TenantId>(2 + random() % 3);
  std::vector<int64_t> tokens;
  double weight_min = std::numeric_limits<double>::infinity();
  for (TenantId tenant = 0; tenant < tenants; ++tenant) {
    const double weight = 0.5 * static_cast<double>(1 + random() % 6);
    weight_min = std::min(weight_min, weight);
    pressure.Send(TenantWeight{tenant, weight});
    tokens.push_back(64LL << (random() % 4));
  }
  const auto plans = static_cast<double>(2 * replicas);
  for (int quantum = 0; quantum < kQuanta; ++quantum) {
    for (TenantId tenant = 0; tenant < tenants; ++tenant) {
      while (pressure.ready(tenant) < 2 * replicas * kKnee / 64) {
        JobSpec spec;
        spec.tenant = tenant;
        spec.steps = 1 + static_cast<int32_t>(random() % 8);
        spec.step_tokens = tokens[tenant];
        pressure.Submit(spec);
      }
    }
    pressure.Step();
    double least = std::numeric_limits<double>::infinity();
    double most = 0;
    for (TenantId tenant = 0; tenant < tenants; ++tenant) {
      least = std::min(least, pressure.scheduler().VirtualTime(tenant));
      most = std::max(most, pressure.scheduler().VirtualTime(tenant));
    }
    const double bound = static_cast<double>(config.burst_credit_ns) +
                         plans * tenants * static_cast<double>(pressure.longest_ns()) / weight_min;
    if (most - least > bound) {
      return absl::StrCat("G2: virtual times differ by ", most - least, ", more than ", bound);
    }
  }
  return "";
}

std::string RunReserveTrace(uint64_t seed) {
  std::mt19937_64 random(seed);
  PolicyConfig config;
  config.priority = random() % 2 == 0 ? Priority::kStrict : Priority::kGoodput;
  config.burst_credit_ns = std::numeric_limits<int64_t>::max() / 4;
  config.reserve_share = 0.02 * static_cast<double>(1 + random() % 5);
  const ReplicaSpec worker = Worker(random);
  Pressure pressure(config, worker, 1);
  const auto fill = [&] {
    while (pressure.ready(1) < 4) {
      JobSpec spec;
      spec.tenant = 1;
      spec.step_tokens = kKnee;  // leaves no room in the batch
      spec.deadline_ns = pressure.now_ns() + 3'600'000 * kMillisecond;
      pressure.Submit(spec);
    }
  };
  fill();
  JobSpec late;
  late.tenant = 2;
  late.steps = 5 + static_cast<int32_t>(random() % 10);
  late.step_tokens = 64 * (1 + static_cast<int64_t>(random() % 6));
  late.deadline_ns = pressure.now_ns() + 1;
  pressure.Submit(late);
  const JobId id = pressure.last_job();
  const int64_t began_ns = pressure.now_ns();
  const int64_t step_ns = worker.cost[static_cast<size_t>(late.step_tokens / 64 - 1)].nanos;
  for (;;) {
    fill();
    pressure.Step();
    // One quantum runs when it comes, and one may be staged; the reserve is counted in quanta.
    const auto bound_ns =
        static_cast<int64_t>(static_cast<double>(late.steps * step_ns) / config.reserve_share) +
        (2 + late.steps) * pressure.longest_ns();
    if (pressure.ended_ns(id) >= 0) return "";
    if (pressure.now_ns() - began_ns > bound_ns) {
      return absl::StrCat("G5: a late job waits longer than ", bound_ns, " ns");
    }
  }
}

}  // namespace darkroom::scheduler
