#include "residency_trace.h"

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/decision_log.h"
#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kTickNs = 20 * kMillisecond;

// Replicas that take their plans in order, load what they are ordered to, and a checker beside.
class World {
 public:
  explicit World(const ResidencyTrace& trace) : trace_(trace), random_(trace.seed) {
    for (const WeightsKnown& known : trace.weights) {
      known_[known.weights] = known;
      Send(known);
    }
    for (const ReplicaSpec& spec : trace.replicas) Attach(spec);
  }

  std::string Run() {
    size_t next = 0;
    for (int64_t events = 0; events < 60'000 && broken_.empty(); ++events) {
      const int64_t op_ns = next < trace_.ops.size() ? trace_.ops[next].at_ns : kNoDeadline;
      const int64_t due_ns = due_.empty() ? kNoDeadline : due_.begin()->first;
      const int64_t tick_ns = scheduler_.wants_clock() ? now_ns_ + kTickNs : kNoDeadline;
      if (op_ns == kNoDeadline && due_ns == kNoDeadline && tick_ns == kNoDeadline) break;
      now_ns_ = std::max(now_ns_, std::min({op_ns, due_ns, tick_ns}));
      if (op_ns <= std::min(due_ns, tick_ns)) {
        Do(trace_.ops[next++]);
      } else if (due_ns <= tick_ns) {
        const Due due = due_.begin()->second;
        due_.erase(due_.begin());
        Happen(due);
      } else {
        Send(ClockTicked{});
      }
    }
    if (broken_.empty() && !jobs_.empty()) {
      Break("G1", absl::StrCat("job ", jobs_.begin()->first, " never ended"));
    }
    if (broken_.empty()) CheckReplay();
    return broken_;
  }

 private:
  struct LiveWeights {
    bool resident = false;
    uint64_t serial = 0;  // of the load
    int64_t stays_until = 0;
  };
  struct LiveReplica {
    ReplicaSpec spec;
    std::deque<RunPlan> plans;
    std::map<WeightsId, LiveWeights> weights;
  };
  struct Due {
    ReplicaId replica = 0;
    bool is_load = false;
    bool fails = false;
    WeightsId weights;
    uint64_t serial = 0;  // of the load, or of the plan
    int64_t took_ns = 0;
  };

  void Break(std::string_view guarantee, const std::string& what) {
    if (!broken_.empty()) return;
    broken_ = absl::StrCat(absl::string_view(guarantee.data(), guarantee.size()), ": ", what,
                           " at ", now_ns_);
  }

  void Attach(const ReplicaSpec& spec) {
    LiveReplica& replica = live_[++last_replica_];
    replica.spec = spec;
    for (const ModelId model : spec.models) replica.weights[{model, 0}].resident = true;
    Send(ReplicaAttached{last_replica_, spec});
  }

  void Do(const ResidencyOp& op) {
    switch (op.kind) {
      case ResidencyOp::Kind::kSubmit: {
        JobSpec spec = op.spec;
        if (spec.deadline_ns != kNoDeadline) spec.deadline_ns += now_ns_;
        jobs_[spec.id] = spec;
        return Send(JobSubmitted{spec});
      }
      case ResidencyOp::Kind::kCancel: {
        if (jobs_.empty()) return;
        const auto it = std::next(jobs_.begin(), static_cast<long>(op.pick % jobs_.size()));
        const JobId id = it->first;
        jobs_.erase(it);
        return Send(JobEnded{id});
      }
      case ResidencyOp::Kind::kLose: {
        const auto it = std::next(live_.begin(), static_cast<long>(op.pick % live_.size()));
        const auto [id, replica] = *it;
        live_.erase(it);
        std::erase_if(due_, [id = id](const auto& due) { return due.second.replica == id; });
        Send(ReplicaLost{id});
        return Attach(replica.spec);
      }
      case ResidencyOp::Kind::kRemoveTenant:
        return Send(TenantRemoved{op.spec.tenant});
      case ResidencyOp::Kind::kJump:
        // A minute later at once: whatever was due is reported late.
        now_ns_ += 60'000 * kMillisecond;
        return Send(ClockTicked{});
    }
  }

  void Happen(const Due& due) {
    const auto it = live_.find(due.replica);
    if (it == live_.end()) return;
    LiveReplica& replica = it->second;
    if (!due.is_load) return Finish(due.replica, replica);
    const auto weights = replica.weights.find(due.weights);
    if (weights == replica.weights.end() || weights->second.serial != due.serial) return;
    if (due.fails) {
      replica.weights.erase(weights);
      return Send(WeightsFailed{due.replica, due.weights});
    }
    weights->second.resident = true;
    weights->second.stays_until = now_ns_ + kStayPerLoad * Expected(due.weights);
    Send(WeightsLoaded{due.replica, due.weights, due.took_ns});
  }

  // What a load is expected to take follows what loads took, which is half of it at the least.
  int64_t Expected(const WeightsId& weights) const { return known_.at(weights).load_ns / 2; }

  void Finish(ReplicaId id, LiveReplica& replica) {
    const RunPlan plan = replica.plans.front();
    replica.plans.pop_front();
    PlanFinished finished{id, plan.sequence, plan.predicted_ns, {}};
    for (const auto& item : plan.items) {
      const bool here = jobs_.contains(item.job);
      finished.items.push_back(
          {item.job, here ? PlanFinished::Outcome::kDone : PlanFinished::Outcome::kSkipped,
           here && item.checkpoint});
    }
    if (!replica.plans.empty()) Run(id, replica.plans.front());
    Send(finished);
  }

  void Run(ReplicaId id, const RunPlan& plan) {
    due_.insert({now_ns_ + plan.predicted_ns, {.replica = id, .serial = plan.sequence}});
  }

  void Send(const Event& event) {
    std::vector<Command> commands;
    scheduler_.Handle(event, now_ns_, commands);
    AppendDecision(event, now_ns_, commands, log_);
    for (const Command& command : commands) std::visit([this](const auto& c) { On(c); }, command);
    const auto invariants = scheduler_.BrokenInvariants();
    if (!invariants.empty()) Break("bookkeeping", invariants.front());
  }

  template <typename T>
  void On(const T&) {}
  void On(const JobFinished& finished) { jobs_.erase(finished.job); }
  void On(const JobRefused& refused) { jobs_.erase(refused.job); }
  void On(const JobQuarantined& quarantined) { jobs_.erase(quarantined.job); }

  std::vector<WeightsId> Needs(const JobSpec& spec) const {
    std::vector<WeightsId> needs = {{spec.model, 0}};
    if (spec.adapter != 0) needs.push_back({spec.model, spec.adapter});
    return needs;
  }

  void On(const RunPlan& plan) {
    LiveReplica& replica = live_.at(plan.replica);
    std::set<uint32_t> adapters;
    for (const auto& item : plan.items) {
      const auto job = jobs_.find(item.job);
      if (job == jobs_.end()) continue;
      if (job->second.adapter != 0) adapters.insert(job->second.adapter);
      for (const WeightsId& needs : Needs(job->second)) {
        const auto it = replica.weights.find(needs);
        if (it == replica.weights.end() || !it->second.resident) {
          Break("G12", absl::StrCat("job ", item.job, " runs without weights ", needs.model, "/",
                                    needs.adapter));
        }
      }
    }
    if (static_cast<int>(adapters.size()) > replica.spec.adapters_max) {
      Break("G12", "more adapters in a batch than it may hold");
    }
    replica.plans.push_back(plan);
    if (replica.plans.size() == 1) Run(plan.replica, plan);
  }

  void On(const EvictWeights& evict) {
    LiveReplica& replica = live_.at(evict.replica);
    const auto it = replica.weights.find(evict.weights);
    if (it == replica.weights.end() || !it->second.resident) {
      return Break("G12", "evicts what is not there");
    }
    if (now_ns_ < it->second.stays_until) Break("G13", "evicts what has just been loaded");
    for (const RunPlan& plan : replica.plans) {
      for (const auto& item : plan.items) {
        const auto job = jobs_.find(item.job);
        if (job == jobs_.end()) continue;
        for (const WeightsId& needs : Needs(job->second)) {
          if (needs == evict.weights) Break("G12", "evicts what something needs that runs");
        }
      }
    }
    replica.weights.erase(it);
  }

  void On(const LoadWeights& load) {
    LiveReplica& replica = live_.at(load.replica);
    if (replica.weights.contains(load.weights)) return Break("G12", "loads what is there");
    LiveWeights& weights = replica.weights[load.weights];
    weights.serial = ++last_load_;
    int64_t used = 0;
    int loads = 0;
    for (const auto& [id, of] : replica.weights) {
      used += known_.at(id).bytes;
      loads += of.resident ? 0 : 1;
    }
    if (used > replica.spec.weights_bytes) {
      Break("G12", absl::StrCat(used, " bytes of ", replica.spec.weights_bytes));
    }
    const int64_t expected_ns = known_.at(load.weights).load_ns;
    const uint64_t dice = random_() % 20;
    // Most take about what was expected, some fail, and some hang until their worker gives up.
    Due due{load.replica, true, dice < 3, load.weights, weights.serial, 0};
    due.took_ns = dice < 2 ? 25 * expected_ns : expected_ns * (5 + (random_() % 15)) / 10;
    due_.insert({now_ns_ + due.took_ns, due});
  }

  void CheckReplay() {
    std::string log = DecisionLogHead(PolicyConfig{}, 10) + log_;
    auto replay = DecisionReplay::Open(log);
    if (!replay.ok()) return Break("G10", "the log does not open");
    for (;;) {
      const auto next = replay->Next();
      if (!next.ok()) return Break("G10", std::string(next.status().message()));
      if (!*next) return;
    }
  }

  const ResidencyTrace& trace_;
  std::mt19937_64 random_;
  Scheduler scheduler_;
  int64_t now_ns_ = 0;
  ReplicaId last_replica_ = 0;
  uint64_t last_load_ = 0;
  std::map<ReplicaId, LiveReplica> live_;
  std::map<JobId, JobSpec> jobs_;
  std::map<WeightsId, WeightsKnown> known_;
  std::multimap<int64_t, Due> due_;
  std::string log_;
  std::string broken_;
};

ReplicaSpec Worker(std::mt19937_64& random) {
  ReplicaSpec spec;
  spec.stages = StageBit(Stage::kDenoise);
  spec.slots = 2 + static_cast<int32_t>(random() % 8);
  spec.step_tokens_max = 256 << (random() % 3);
  spec.plans_in_flight_max = 1 + static_cast<int32_t>(random() % 2);
  spec.adapters_max = 1 + static_cast<int32_t>(random() % 3);
  spec.adapter_ns = static_cast<int64_t>(random() % 2) * kMillisecond;
  spec.numerics = 1;
  spec.moves = random() % 2 == 0;
  for (int64_t tokens = 64; tokens <= 1024; tokens += 64) {
    spec.cost.push_back(
        {Stage::kDenoise, tokens, std::max<int64_t>(5, tokens / 40) * kMillisecond});
  }
  return spec;
}

}  // namespace

ResidencyTrace RandomResidencyTrace(uint64_t seed) {
  std::mt19937_64 random(seed);
  ResidencyTrace trace;
  trace.seed = seed;
  const auto models = static_cast<ModelId>(2 + random() % 5);
  int64_t largest = 0;
  for (ModelId model = 1; model <= models; ++model) {
    const auto bytes = static_cast<int64_t>(3 + random() % 6);
    const auto load_ns = static_cast<int64_t>(10 + random() % 200) * kMillisecond;
    trace.weights.push_back({{model, 0}, bytes, load_ns});
    largest = std::max(largest, bytes);
    for (uint32_t adapter = 1; adapter <= random() % 4; ++adapter) {
      trace.weights.push_back({{model, adapter}, 1, load_ns / 4});
    }
  }
  ReplicaSpec spec = Worker(random);
  // Room for a model with one of its adapters, and for as much again at most.
  spec.weights_bytes = largest + 1 + static_cast<int64_t>(random() % 9);
  trace.replicas.assign(1 + random() % 3, spec);
  if (random() % 2 == 0) trace.replicas[0].models = {1};
  const uint64_t ops = 4 + random() % 30;
  int64_t at_ns = 0;
  for (uint64_t i = 0; i < ops; ++i) {
    at_ns += static_cast<int64_t>(random() % 80) * kMillisecond;
    ResidencyOp op;
    op.at_ns = at_ns;
    op.pick = random();
    const uint64_t dice = random() % 40;
    op.spec.id = i + 1;
    op.spec.tenant = static_cast<TenantId>(1 + random() % 3);
    if (dice < 4) {
      op.kind = static_cast<ResidencyOp::Kind>(1 + dice);
    } else {
      const WeightsId& needs = trace.weights[random() % trace.weights.size()].weights;
      op.spec.model = needs.model;
      op.spec.adapter = needs.adapter;
      op.spec.stages = StageBit(Stage::kDenoise);
      op.spec.steps = 1 + static_cast<int32_t>(random() % 8);
      op.spec.step_tokens = 64 * (1 + static_cast<int64_t>(random() % 4));
      op.spec.service_class = static_cast<ServiceClass>(random() % 3);
      if (random() % 2 == 0)
        op.spec.deadline_ns = static_cast<int64_t>(random() % 900) * kMillisecond;
    }
    trace.ops.push_back(op);
  }
  return trace;
}

std::string RunResidencyTrace(const ResidencyTrace& trace) { return World(trace).Run(); }

ResidencyTrace ShrinkResidency(ResidencyTrace trace) {
  const std::string broken = RunResidencyTrace(trace);
  const std::string guarantee = broken.substr(0, broken.find(':'));
  for (size_t length = std::max<size_t>(1, trace.ops.size() / 2); length >= 1; length /= 2) {
    for (size_t begin = 0; begin < trace.ops.size();) {
      ResidencyTrace smaller = trace;
      const size_t end = std::min(trace.ops.size(), begin + length);
      smaller.ops.erase(smaller.ops.begin() + static_cast<long>(begin),
                        smaller.ops.begin() + static_cast<long>(end));
      const std::string still = RunResidencyTrace(smaller);
      if (still.substr(0, still.find(':')) == guarantee) {
        trace = std::move(smaller);
      } else {
        begin = end;
      }
    }
  }
  return trace;
}

std::string DescribeResidency(const ResidencyTrace& trace) {
  const ReplicaSpec& replica = trace.replicas.front();
  std::string text = absl::StrCat(trace.replicas.size(), " replicas, ", replica.slots, " slots, ",
                                  replica.weights_bytes, " bytes, ", replica.plans_in_flight_max,
                                  " plans, moves ", replica.moves, "\n");
  for (const WeightsKnown& known : trace.weights) {
    absl::StrAppend(&text, "  weights ", known.weights.model, "/", known.weights.adapter, ": ",
                    known.bytes, " bytes, ", known.load_ns, " ns\n");
  }
  for (const ResidencyOp& op : trace.ops) {
    absl::StrAppend(&text, "  ", op.at_ns, " ns: op ", static_cast<int>(op.kind), " job ",
                    op.spec.id, " tenant ", op.spec.tenant, " model ", op.spec.model, "/",
                    op.spec.adapter, " class ", static_cast<int>(op.spec.service_class), " steps ",
                    op.spec.steps, " deadline ", op.spec.deadline_ns, "\n");
  }
  return text;
}

namespace {

// One replica with room for one model, whose jobs never cease.
class TurnWorld {
 public:
  explicit TurnWorld(uint64_t seed) {
    std::mt19937_64 random(seed);
    spec_ = Worker(random);
    spec_.weights_bytes = 10;
    spec_.moves = false;
    spec_.models = {1};
    for (const ModelId model : {1u, 2u}) Send(WeightsKnown{{model, 0}, 7, kLoadNs});
    Send(ReplicaAttached{1, spec_});
    Fill();
    Submit(kRare, 2, 1);
  }

  std::string Run() {
    // Its turn; what runs there ends, each in its steps, all of its slots one after the other at
    // worst; its load, and its step behind what is staged.
    const auto bound_ns = [this] {
      return (kTurnPerLoad + 2) * kLoadNs + (spec_.slots * kSteps + 4) * longest_ns_;
    };
    while (!ended_ && now_ns_ <= bound_ns()) {
      const int64_t tick_ns = now_ns_ + kTickNs;
      if (due_.empty() || tick_ns < due_.begin()->first) {
        now_ns_ = tick_ns;
        Send(ClockTicked{});
      } else {
        now_ns_ = due_.begin()->first;
        const Event event = due_.begin()->second;
        due_.erase(due_.begin());
        plans_ -= std::holds_alternative<PlanFinished>(event) ? 1 : 0;
        Send(event);
      }
      Fill();
    }
    if (ended_) return "";
    return absl::StrCat("G14: a job waits for weights for longer than ", bound_ns(), " ns");
  }

 private:
  static constexpr int64_t kLoadNs = 100 * kMillisecond;
  static constexpr JobId kRare = 1'000'000;
  static constexpr int32_t kSteps = 5;

  void Send(const Event& event) {
    std::vector<Command> commands;
    scheduler_.Handle(event, now_ns_, commands);
    for (const Command& command : commands) {
      if (const auto* run = std::get_if<RunPlan>(&command)) {
        PlanFinished finished{1, run->sequence, run->predicted_ns, {}};
        for (const auto& item : run->items) {
          finished.items.push_back({item.job, PlanFinished::Outcome::kDone, false});
        }
        ++plans_;
        longest_ns_ = std::max(longest_ns_, run->predicted_ns);
        due_.insert({now_ns_ + plans_ * run->predicted_ns, finished});
      } else if (const auto* load = std::get_if<LoadWeights>(&command)) {
        due_.insert({now_ns_ + kLoadNs, WeightsLoaded{1, load->weights, kLoadNs}});
      } else if (const auto* done = std::get_if<JobFinished>(&command)) {
        ended_ = ended_ || done->job == kRare;
        frequent_.erase(done->job);
      }
    }
  }

  void Submit(JobId id, ModelId model, int32_t steps) {
    JobSpec job;
    job.id = id;
    job.tenant = model;
    job.model = model;
    job.stages = StageBit(Stage::kDenoise);
    job.steps = steps;
    job.step_tokens = 64;
    Send(JobSubmitted{job});
  }

  void Fill() {
    while (frequent_.size() < 12) {
      frequent_.insert(++last_job_);
      Submit(last_job_, 1, kSteps);
    }
  }

  ReplicaSpec spec_;
  Scheduler scheduler_;
  int64_t now_ns_ = 0;
  std::multimap<int64_t, Event> due_;
  JobId last_job_ = 0;
  int plans_ = 0;  // under way
  int64_t longest_ns_ = 0;
  bool ended_ = false;
  std::set<JobId> frequent_;
};

}  // namespace

std::string RunTurnTrace(uint64_t seed) { return TurnWorld(seed).Run(); }

}  // namespace darkroom::scheduler
