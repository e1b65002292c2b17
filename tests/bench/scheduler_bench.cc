// How long the scheduler takes to decide, by jobs waiting and replicas, with 1,000 tenants: every
// event's time on the processor, over 20,000 events of a system that is kept full. Started jobs
// move. Time on the processor, because a machine that runs other work takes it away for
// milliseconds at a time.
//
//   build/tests/bench/scheduler_bench

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <random>
#include <vector>

#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr TenantId kTenants = 1000;
constexpr int kEvents = 20'000;

double ProcessorMicroseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

class Load {
 public:
  // `gang`: replicas that may run a quantum together.
  Load(int replicas, int gang) {
    ReplicaSpec spec;
    spec.stages = StageBit(Stage::kDenoise);
    spec.models = {0};
    spec.slots = 64;
    spec.moves = true;
    spec.move_ns = 1'000'000;
    spec.step_tokens_max = 10'000;
    for (int64_t tokens = 250; tokens <= 24'000; tokens += 250) {
      spec.cost.push_back(
          {Stage::kDenoise, tokens, std::max<int64_t>(167, tokens / 20) * 1'000'000});
    }
    for (int degree = 2; degree <= gang; degree *= 2) {
      DegreeCost cost{degree, spec.cost, {}};
      for (CostPoint& point : cost.cost) point.nanos = point.nanos / degree + 10'000'000;
      spec.degrees.push_back(std::move(cost));
    }
    for (ReplicaId id = 1; id <= replicas; ++id) {
      spec.gang = gang > 1 ? (id - 1) / gang : -1;
      spec.gang_rank = gang > 1 ? (id - 1) % gang : 0;
      Send(ReplicaAttached{id, spec});
    }
  }

  // Fills up to `jobs`, a quarter of them with a deadline that will be missed.
  void Fill(size_t jobs) {
    while (scheduler_.job_count() < jobs) {
      JobSpec spec;
      spec.id = ++last_job_;
      spec.tenant = static_cast<TenantId>(random_() % kTenants);
      spec.stages = StageBit(Stage::kDenoise);
      spec.steps = 10 + static_cast<int32_t>(random_() % 40);
      spec.step_tokens = random_() % 4 == 0 ? 4560 : 1000;
      const auto slack_s = static_cast<int64_t>(random_() % 4 == 0 ? 1 : 20 + random_() % 10'000);
      spec.deadline_ns = now_ns_ + slack_s * 1'000'000'000;
      Send(JobSubmitted{spec});
    }
  }

  void FinishOne() {
    const RunPlan plan = plans_.front();
    plans_.pop_front();
    now_ns_ += 1'000'000;
    PlanFinished finished{plan.replica, plan.sequence, plan.predicted_ns, {}};
    for (const auto& item : plan.items) {
      finished.items.push_back({item.job, PlanFinished::Outcome::kDone, false});
    }
    Send(finished);
  }

  std::vector<double>& times_us() { return times_us_; }

 private:
  void Send(const Event& event) {
    commands_.clear();
    const double begin_us = ProcessorMicroseconds();
    scheduler_.Handle(event, now_ns_, commands_);
    times_us_.push_back(ProcessorMicroseconds() - begin_us);
    for (const Command& command : commands_) {
      if (const auto* run = std::get_if<RunPlan>(&command)) plans_.push_back(*run);
    }
  }

  Scheduler scheduler_;
  std::mt19937_64 random_{1};
  int64_t now_ns_ = 0;
  JobId last_job_ = 0;
  std::deque<RunPlan> plans_;
  std::vector<Command> commands_;
  std::vector<double> times_us_;
};

void Measure(size_t jobs, int replicas, int gang = 1) {
  Load load(replicas, gang);
  load.Fill(jobs);
  load.times_us().clear();
  for (int event = 0; event < kEvents; ++event) {
    load.FinishOne();
    load.Fill(jobs);
  }
  std::vector<double>& times = load.times_us();
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))];
  };
  std::printf("%8zu jobs %6d replicas, gangs of %d: p50 %6.1f us, p99 %6.1f us, p99.9 %6.1f us\n",
              jobs, replicas, gang, at(0.5), at(0.99), at(0.999));
  std::fflush(stdout);
}

}  // namespace
}  // namespace darkroom::scheduler

int main() {
  using darkroom::scheduler::Measure;
  Measure(1'000, 8);
  Measure(10'000, 8);
  Measure(10'000, 100);
  Measure(10'000, 8, 8);
  Measure(10'000, 96, 8);
  Measure(100'000, 1000);
  Measure(900'000, 10'000);
}
