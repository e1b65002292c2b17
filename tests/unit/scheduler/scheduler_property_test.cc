// Random traces against the scheduler: every guarantee it gives now is checked at every event.
// DARKROOM_TRACES sets how many (default 3,000); a failure prints its seed.

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr uint8_t kWorkerStages = 0b01111;
constexpr uint8_t kMediaStages = 0b10000;

int Traces() {
  const char* traces = std::getenv("DARKROOM_TRACES");
  return traces == nullptr ? 3000 : std::atoi(traces);
}

// Replicas that run their plans in order and die at random, and clients that submit and cancel.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    scheduler_.set_checkpoint_steps(1 + static_cast<int>(random_() % 5));
    ReplicaSpec media;
    media.stages = kMediaStages;
    media.any_model = true;
    media.plans_in_flight_max = 1 + static_cast<int>(random_() % 2);
    Attach(0, media);
    const int workers = 1 + static_cast<int>(random_() % 3);
    for (int i = 0; i < workers; ++i) AttachWorker();
  }

  void Run() {
    const int submissions = 5 + static_cast<int>(random_() % 40);
    int submitted = 0;
    for (int event = 0; event < 4000 && !::testing::Test::HasFailure(); ++event) {
      const uint64_t dice = random_() % 100;
      if (submitted < submissions && dice < 20) {
        Submit(++submitted);
      } else if (dice < 22 && !live_.empty()) {
        Cancel();
      } else if (dice < 24 && losses_ < 6) {
        LoseOne();
      } else {
        FinishOne();
      }
      if (submitted == submissions && live_.empty()) break;
    }
    EXPECT_TRUE(live_.empty()) << live_.size() << " jobs never ended";
    EXPECT_EQ(scheduler_.job_count(), 0u);
  }

  const std::vector<uint64_t>& digest() const { return digest_; }

 private:
  struct Live {
    JobSpec spec;
    int next_step = 0;   // as dispatched
    int checkpoint = 0;  // as saved
    Stage stage = Stage::kEncode;
    bool encoded = false;
  };

  void Send(const Event& event) {
    std::vector<Command> commands;
    scheduler_.Handle(event, ++now_, commands);
    const auto broken = scheduler_.BrokenInvariants();
    EXPECT_TRUE(broken.empty()) << ::testing::PrintToString(broken);
    for (const auto& command : commands) {
      std::visit([this](const auto& c) { On(c); }, command);
    }
    CheckNoIdleReplica();
  }

  void Attach(ReplicaId id, const ReplicaSpec& spec) {
    specs_[id] = spec;
    queues_[id];
    Send(ReplicaAttached{id, spec});
  }

  void AttachWorker() {
    ReplicaSpec spec;
    spec.stages = kWorkerStages;
    spec.models = {0, 1};
    spec.slots = 1 + static_cast<int>(random_() % 10);
    spec.step_tokens_max = 64 << (random_() % 6);
    spec.plans_in_flight_max = 1 + static_cast<int>(random_() % 2);
    spec.numerics = 1;
    Attach(++last_replica_, spec);
  }

  void Submit(JobId id) {
    JobSpec spec;
    spec.id = id;
    spec.tenant = static_cast<TenantId>(random_() % 4);
    spec.model = static_cast<ModelId>(random_() % 2);
    spec.isolation = random_() % 5 == 0 ? Isolation::kExclusiveBatch : Isolation::kShared;
    spec.steps = 1 + static_cast<int>(random_() % 12);
    spec.step_tokens = 1 + static_cast<int64_t>(random_() % 300);
    spec.image_tokens = spec.step_tokens;
    spec.image_encode = random_() % 3 == 0;
    live_[id] = Live{spec};
    Send(JobSubmitted{spec});
  }

  void Cancel() {
    auto it = live_.begin();
    std::advance(it, static_cast<long>(random_() % live_.size()));
    const JobId id = it->first;
    live_.erase(it);
    Send(JobEnded{id});
  }

  void LoseOne() {
    std::vector<ReplicaId> workers;
    for (const auto& [id, queue] : queues_) {
      if (id != 0) workers.push_back(id);
    }
    const ReplicaId id = workers[random_() % workers.size()];
    ++losses_;
    queues_.erase(id);
    specs_.erase(id);
    for (auto it = slots_.begin(); it != slots_.end();) {
      it = it->first.first == id ? slots_.erase(it) : std::next(it);
    }
    Send(ReplicaLost{id});
    AttachWorker();
  }

  void FinishOne() {
    std::vector<ReplicaId> busy;
    for (const auto& [id, queue] : queues_) {
      if (!queue.empty()) busy.push_back(id);
    }
    if (busy.empty()) return;
    const ReplicaId id = busy[random_() % busy.size()];
    const RunPlan plan = queues_[id].front();
    queues_[id].pop_front();
    PlanFinished finished{id, plan.sequence, static_cast<int64_t>(random_() % 1'000'000), {}};
    bool any = false;
    for (const auto& item : plan.items) {
      const bool here = id == 0 || slots_.contains({id, item.epoch});
      any = any || here;
      if (here && live_.contains(item.job) && item.checkpoint) {
        live_[item.job].checkpoint = item.step + 1;
      }
      finished.items.push_back(
          {item.job, here ? PlanFinished::Outcome::kDone : PlanFinished::Outcome::kSkipped,
           here && item.checkpoint});
    }
    charged_ = 0;
    Send(finished);
    EXPECT_EQ(charged_, any ? finished.duration_ns : 0) << "G7: charges and busy time differ";
  }

  void On(const OpenSlot& open) {
    EXPECT_TRUE(slots_.insert({{open.replica, open.epoch}, open.job}).second);
    std::set<uint32_t>& used = slot_numbers_[open.replica];
    EXPECT_LT(open.slot, static_cast<uint32_t>(specs_.at(open.replica).slots));
    used.insert(open.slot);
    Live& job = live_.at(open.job);
    EXPECT_EQ(open.resume_step, job.checkpoint);
    job.next_step = open.resume_step;
    job.stage = Stage::kEncode;
  }
  void On(const CloseSlot& close) { EXPECT_EQ(slots_.erase({close.replica, close.epoch}), 1u); }
  void On(const RunPlan& plan) {
    digest_.push_back(plan.sequence * 1000003 + static_cast<uint64_t>(plan.replica));
    queues_.at(plan.replica).push_back(plan);
    EXPECT_LE(queues_.at(plan.replica).size(),
              static_cast<size_t>(specs_.at(plan.replica).plans_in_flight_max));
    EXPECT_FALSE(plan.items.empty());
    CheckBatch(plan);
    for (const auto& item : plan.items) {
      digest_.push_back(item.job);
      Live& job = live_.at(item.job);
      // G9: the job's own sequence of stages and steps is that of its solo run.
      EXPECT_EQ(plan.stage, job.stage) << "job " << item.job;
      if (plan.stage == Stage::kDenoise) {
        EXPECT_EQ(item.step, job.next_step);
      }
      switch (plan.stage) {
        case Stage::kEncode:
          job.stage = job.spec.image_encode ? Stage::kImageEncode : Stage::kDenoise;
          break;
        case Stage::kImageEncode:
          job.stage = Stage::kDenoise;
          break;
        case Stage::kDenoise:
          if (++job.next_step == job.spec.steps) job.stage = Stage::kDecode;
          break;
        case Stage::kDecode:
          job.stage = Stage::kMediaEncode;
          break;
        case Stage::kMediaEncode:
          break;
      }
    }
  }
  void On(const Charge& charge) {
    EXPECT_GT(charge.nanos, 0);
    charged_ += charge.nanos;
  }
  void On(const JobFinished& finished) {
    EXPECT_EQ(live_.at(finished.job).stage, Stage::kMediaEncode);
    live_.erase(finished.job);
  }
  void On(const JobRequeued& requeued) {
    Live& job = live_.at(requeued.job);
    EXPECT_EQ(requeued.resume_step, job.checkpoint);
    job.stage = Stage::kEncode;
    job.next_step = job.checkpoint;
  }
  void On(const EvictWeights&) {}  // no replica here loads weights (residency_trace.cc)
  void On(const LoadWeights&) {}
  void On(const JobQuarantined& quarantined) { live_.erase(quarantined.job); }
  void On(const RevokePlan& revoke) { ADD_FAILURE() << "asks replica " << revoke.replica; }
  void On(const JobRefused& refused) { ADD_FAILURE() << "job " << refused.job << " was refused"; }

  void CheckBatch(const RunPlan& plan) {
    std::set<JobId> jobs;
    std::set<ModelId> models;
    std::set<TenantId> tenants;
    bool exclusive = false;
    int64_t tokens = 0;
    for (const auto& item : plan.items) {
      EXPECT_TRUE(jobs.insert(item.job).second) << "twice in one batch";
      const JobSpec& spec = live_.at(item.job).spec;
      models.insert(spec.model);
      tenants.insert(spec.tenant);
      exclusive = exclusive || spec.isolation != Isolation::kShared;
      tokens += spec.step_tokens;
    }
    EXPECT_EQ(models.size(), 1u);
    if (exclusive) {
      EXPECT_EQ(tenants.size(), 1u);
    }
    if (plan.stage == Stage::kDenoise && plan.items.size() > 1) {
      EXPECT_LE(tokens, specs_.at(plan.replica).step_tokens_max);
    }
  }

  // G1: no replica idles while a job that it may run now is ready.
  void CheckNoIdleReplica() {
    for (const auto& [id, queue] : queues_) {
      if (!queue.empty()) continue;
      for (const auto& [job, live] : live_) {
        const bool resident =
            std::any_of(slots_.begin(), slots_.end(), [&, job = job, id = id](const auto& slot) {
              return slot.second == job && slot.first.first == id;
            });
        EXPECT_FALSE(resident && id != 0 && live.stage != Stage::kMediaEncode)
            << "replica " << id << " idles with job " << job << " aboard";
      }
      if (id == 0) continue;
      const auto held = std::count_if(slots_.begin(), slots_.end(), [id = id](const auto& slot) {
        return slot.first.first == id;
      });
      const bool waiting = std::any_of(live_.begin(), live_.end(), [&](const auto& entry) {
        return entry.second.stage == Stage::kEncode &&
               std::none_of(slots_.begin(), slots_.end(),
                            [&](const auto& slot) { return slot.second == entry.first; });
      });
      EXPECT_FALSE(waiting && held == 0) << "replica " << id << " idles, empty, with jobs waiting";
    }
  }

  std::mt19937_64 random_;
  Scheduler scheduler_;
  int64_t now_ = 0;
  int64_t charged_ = 0;
  int losses_ = 0;
  ReplicaId last_replica_ = 0;
  std::map<JobId, Live> live_;
  std::map<ReplicaId, ReplicaSpec> specs_;
  std::map<ReplicaId, std::deque<RunPlan>> queues_;
  std::map<std::pair<ReplicaId, uint64_t>, JobId> slots_;  // open leases by (replica, epoch)
  std::map<ReplicaId, std::set<uint32_t>> slot_numbers_;
  std::vector<uint64_t> digest_;
};

TEST(SchedulerPropertyTest, KeepsItsGuaranteesOnRandomTraces) {
  for (int seed = 1; seed <= Traces(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World world(static_cast<uint64_t>(seed));
    world.Run();
    if (HasFailure()) return;
  }
}

// G10: the same events give the same commands.
TEST(SchedulerPropertyTest, RepeatsItself) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    World a(seed);
    World b(seed);
    a.Run();
    b.Run();
    ASSERT_EQ(a.digest(), b.digest()) << "seed " << seed;
  }
}

// G2: tenants that always have work differ by no more than a bound in weighted time.
TEST(SchedulerPropertyTest, SharesTimeByWeight) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    std::mt19937_64 random(seed);
    Scheduler scheduler({.burst_credit_ns = 20'000'000});
    std::vector<Command> commands;
    ReplicaSpec spec;
    spec.stages = kWorkerStages | kMediaStages;
    spec.models = {0};
    spec.slots = 16;
    spec.step_tokens_max = 256;
    spec.plans_in_flight_max = 2;
    scheduler.Handle(ReplicaAttached{1, spec}, 0, commands);
    const std::vector<double> weights = {1, 2, 4};
    for (TenantId t = 0; t < weights.size(); ++t) {
      scheduler.Handle(TenantWeight{t, weights[t]}, 0, commands);
    }
    JobId last = 0;
    std::map<JobId, TenantId> tenant_of;
    auto submit = [&](TenantId tenant) {
      JobSpec job;
      job.id = ++last;
      job.tenant = tenant;
      // One tenant's jobs are tiny and another's fill the batch: requests differ, time must not.
      job.steps = 5 + static_cast<int>(random() % 20);
      job.step_tokens = tenant == 0 ? 32 : tenant == 1 ? 128 : 256;
      job.image_tokens = job.step_tokens;
      tenant_of[job.id] = tenant;
      scheduler.Handle(JobSubmitted{job}, 0, commands);
    };
    for (TenantId t = 0; t < weights.size(); ++t) {
      for (int i = 0; i < 8; ++i) submit(t);
    }
    std::map<TenantId, double> used;
    std::deque<RunPlan> queue;
    for (int event = 0; event < 20000; ++event) {
      for (const auto& command : std::exchange(commands, {})) {
        if (const auto* run = std::get_if<RunPlan>(&command)) queue.push_back(*run);
        if (const auto* charge = std::get_if<Charge>(&command)) {
          used[tenant_of[charge->job]] += static_cast<double>(charge->nanos);
        }
        if (const auto* done = std::get_if<JobFinished>(&command)) submit(tenant_of[done->job]);
      }
      ASSERT_FALSE(queue.empty());
      PlanFinished finished{1, queue.front().sequence, 0, {}};
      for (const auto& item : queue.front().items) {
        finished.items.push_back({item.job, PlanFinished::Outcome::kDone, false});
      }
      finished.duration_ns = 1'000'000 + static_cast<int64_t>(random() % 1'000'000);
      queue.pop_front();
      scheduler.Handle(finished, 0, commands);
    }
    const double all = used[0] + used[1] + used[2];
    for (TenantId t = 0; t < weights.size(); ++t) {
      EXPECT_NEAR(used[t] / all, weights[t] / 7.0, 0.02) << "tenant " << t << " seed " << seed;
    }
  }
}

}  // namespace
}  // namespace darkroom::scheduler
