#include "simulator/daemon_rerun.h"

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"
#include "scheduler/decision_log.h"
#include "scheduler/scheduler.h"

namespace darkroom::simulator {
namespace {

using scheduler::Command;
using scheduler::Event;
using scheduler::JobSpec;
using scheduler::RunPlan;
using scheduler::Stage;

constexpr int64_t kUs = 1000;
constexpr int64_t kMs = 1'000'000;
constexpr DaemonOverheads kOverheads = {3'000'017, 400'019, 50'023, 200'029};

// A daemon whose every duration is known, and its decision log.
class KnownDaemon {
 public:
  KnownDaemon() : log_(scheduler::DecisionLogHead({}, 10)) {
    scheduler_.set_checkpoint_steps(10);
    scheduler::ReplicaSpec media;
    media.stages = scheduler::StageBit(Stage::kMediaEncode);
    media.any_model = true;
    media.plans_in_flight_max = 2;
    Tell(scheduler::ReplicaAttached{0, media});
    scheduler::ReplicaSpec worker;
    worker.stages = 0b01111;
    worker.hardware = 1;
    worker.models = {0};
    worker.slots = 4;
    worker.step_tokens_max = 4 * 64;
    worker.plans_in_flight_max = 2;
    worker.revokes = true;
    // Of denoising there is a profile, which is half of the truth.
    for (int64_t jobs = 1; jobs <= 4; ++jobs) {
      worker.cost.push_back({Stage::kDenoise, 64 * jobs, Truth(Stage::kDenoise, 64 * jobs) / 2});
    }
    Tell(scheduler::ReplicaAttached{1, worker});
  }

  void Arrive(int64_t at_ns, scheduler::JobId id, int steps, int64_t deadline_ns) {
    JobSpec spec;
    spec.id = id;
    spec.tenant = static_cast<scheduler::TenantId>(1 + id % 3);
    spec.steps = steps;
    spec.step_tokens = 64;
    spec.image_tokens = 16;
    spec.deadline_ns = at_ns + deadline_ns;
    spec.held = true;
    Push(at_ns, scheduler::JobSubmitted{spec});
  }
  // An estimate: it leaves before anything can happen.
  void Ask(int64_t at_ns, scheduler::JobId id) {
    JobSpec spec;
    spec.id = id;
    spec.tenant = 1;
    spec.held = true;
    asked_ = id;
    Push(at_ns, scheduler::JobSubmitted{spec});
    Push(at_ns, scheduler::JobEnded{id});
  }
  void Push(int64_t at_ns, Event event) {
    events_.emplace(std::pair(at_ns, ++order_), std::move(event));
  }

  const std::string& Log() {
    while (!events_.empty()) {
      const auto next = events_.extract(events_.begin());
      now_ns_ = next.key().first;
      Tell(next.mapped());
    }
    return log_;
  }

 private:
  static int64_t Truth(Stage stage, int64_t tokens) {
    switch (stage) {
      case Stage::kEncode:
        return 125'019 * tokens;  // 16 a job
      case Stage::kDenoise:
        return 4'000'128 + 100'004 * tokens;
      default:
        return 3'000'773;
    }
  }

  void Tell(const Event& event) {
    std::vector<Command> commands;
    if (const auto* finished = std::get_if<scheduler::PlanFinished>(&event);
        finished != nullptr && finished->replica == 1) {
      plans_.pop_front();
      finished_ns_ = now_ns_;
      StartNext();
    }
    scheduler_.Handle(event, now_ns_, commands);
    scheduler::AppendDecision(event, now_ns_, commands, log_);
    const auto* submitted = std::get_if<scheduler::JobSubmitted>(&event);
    if (submitted != nullptr && submitted->spec.id != asked_) {
      Push(now_ns_ + kOverheads.commit_ns, scheduler::JobReleased{submitted->spec.id});
    }
    for (const Command& command : commands) {
      if (const auto* revoke = std::get_if<scheduler::RevokePlan>(&command)) {
        // It is the second of two, and the answer comes in no time.
        plans_.pop_back();
        Push(now_ns_, scheduler::PlanRevoked{1, revoke->sequence});
        continue;
      }
      const auto* plan = std::get_if<RunPlan>(&command);
      if (plan == nullptr) continue;
      if (plan->replica == 0) {
        Report(*plan, now_ns_ + kOverheads.media_ns);
      } else {
        plans_.emplace_back(*plan, now_ns_);
        if (plans_.size() == 1) StartNext();
      }
    }
  }

  void StartNext() {
    if (plans_.empty()) return;
    const auto& [plan, ordered_ns] = plans_.front();
    Report(plan, ordered_ns < finished_ns_ ? finished_ns_ + kOverheads.gap_ns
                                           : ordered_ns + kOverheads.start_ns);
  }

  void Report(const RunPlan& plan, int64_t from_ns) {
    const auto jobs = static_cast<int64_t>(plan.items.size());
    const int64_t tokens = plan.stage == Stage::kDenoise ? 64 * jobs : 16 * jobs;
    scheduler::PlanFinished finished{plan.replica, plan.sequence, Truth(plan.stage, tokens), {}};
    for (const auto& item : plan.items) finished.items.push_back({item.job});
    Push(from_ns + finished.duration_ns, finished);
  }

  scheduler::Scheduler scheduler_;
  std::string log_;
  std::map<std::pair<int64_t, int64_t>, Event> events_;
  int64_t order_ = 0;
  scheduler::JobId asked_ = 0;
  int64_t now_ns_ = 0;
  int64_t finished_ns_ = -1;
  std::deque<std::pair<RunPlan, int64_t>> plans_;
};

// 30 jobs of warm-up, a pause, and 60 of the run.
KnownDaemon Busy() {
  KnownDaemon daemon;
  for (int i = 0; i < 90; ++i) {
    // Never two events at one time, whose order would be a matter of taste.
    const int64_t at_ns = (i < 30 ? 0 : 60'000 * kMs) + i * 37 * kMs + i * i * 1237;
    daemon.Arrive(at_ns, static_cast<scheduler::JobId>(i + 1), 2 + i % 7,
                  (40 + 30 * (i % 5)) * kMs);
  }
  return daemon;
}

TEST(DaemonRerunTest, WhereEverythingIsKnownItComesOutTheSame) {
  KnownDaemon daemon = Busy();
  const auto rerun = RerunDaemon(daemon.Log(), 30);
  ASSERT_TRUE(rerun.ok()) << rerun.status();
  EXPECT_EQ(rerun->overheads.commit_ns, kOverheads.commit_ns);
  EXPECT_EQ(rerun->overheads.start_ns, kOverheads.start_ns);
  EXPECT_EQ(rerun->overheads.gap_ns, kOverheads.gap_ns);
  EXPECT_EQ(rerun->overheads.media_ns, kOverheads.media_ns);
  ASSERT_EQ(rerun->daemon.size(), 60u);
  ASSERT_EQ(rerun->simulated.size(), 60u);
  int late = 0;
  for (size_t i = 0; i < 60; ++i) {
    EXPECT_EQ(rerun->simulated[i].refused, rerun->daemon[i].refused) << i;
    EXPECT_NEAR(static_cast<double>(rerun->simulated[i].finished_ns),
                static_cast<double>(rerun->daemon[i].finished_ns), kUs)
        << i;
    late += rerun->daemon[i].finished_ns > rerun->daemon[i].deadline_ns ? 1 : 0;
  }
  EXPECT_GT(late, 0) << "too idle to tell anything";
  EXPECT_LT(late, 60);
}

TEST(DaemonRerunTest, WhatWasOnlyAskedAboutIsNoJobAndACancelledOneDoesNotEnd) {
  KnownDaemon daemon = Busy();
  const int64_t later_ns = 64'000 * kMs;
  daemon.Ask(later_ns, 1000);
  daemon.Arrive(later_ns, 1001, 50, 60'000 * kMs);
  daemon.Push(later_ns + 20 * kMs, scheduler::JobEnded{1001});
  const auto rerun = RerunDaemon(daemon.Log(), 30);
  ASSERT_TRUE(rerun.ok()) << rerun.status();
  ASSERT_EQ(rerun->daemon.size(), 61u);
  EXPECT_EQ(rerun->daemon.back().id, 1001u);
  EXPECT_EQ(rerun->daemon.back().finished_ns, -1);
  EXPECT_EQ(rerun->simulated.back().finished_ns, -1);
}

TEST(DaemonRerunTest, WhatCannotBeComparedIsRefused) {
  KnownDaemon daemon = Busy();
  EXPECT_EQ(ErrorReason(RerunDaemon(daemon.Log(), 90).status()), "WORKLOAD_INVALID");
  EXPECT_EQ(ErrorReason(RerunDaemon("", 1).status()), "DECISION_LOG_INVALID");
  daemon.Push(90'000 * kMs, scheduler::ReplicaLost{1});
  EXPECT_EQ(ErrorReason(RerunDaemon(daemon.Log(), 30).status()), "WORKLOAD_INVALID");
  std::string damaged = Busy().Log();
  damaged[damaged.size() / 2] ^= 1;
  EXPECT_EQ(ErrorReason(RerunDaemon(damaged, 30).status()), "DECISION_LOG_DAMAGED");
}

}  // namespace
}  // namespace darkroom::simulator
