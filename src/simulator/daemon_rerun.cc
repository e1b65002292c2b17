#include "simulator/daemon_rerun.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <utility>
#include <variant>

#include "absl/container/flat_hash_map.h"
#include "base/error.h"
#include "scheduler/decision_log.h"
#include "scheduler/job.h"
#include "simulator/quantum_costs.h"

namespace darkroom::simulator {
namespace {

using scheduler::Command;
using scheduler::Event;
using scheduler::JobId;
using scheduler::JobSpec;
using scheduler::ReplicaId;
using scheduler::RunPlan;
using scheduler::Stage;

absl::Status Invalid(std::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument, "WORKLOAD_INVALID", std::string(what));
}

using Specs = absl::flat_hash_map<JobId, JobSpec>;

int64_t TokensOf(const RunPlan& plan, const Specs& specs) {
  int64_t tokens = 0;
  for (const auto& item : plan.items) tokens += scheduler::Tokens(specs.at(item.job), plan.stage);
  return tokens;
}

// How much of a whole quantum of its stage the plan is: of a step that is cut, a part.
double PartOf(const RunPlan& plan, const Specs& specs) {
  const auto spec = plan.items.empty() ? specs.end() : specs.find(plan.items.front().job);
  if (plan.stage != Stage::kDenoise || spec == specs.end()) return 1;
  return static_cast<double>(plan.segment_end - plan.segment_begin) / spec->second.segments;
}

// A mean that grows.
struct Mean {
  int64_t sum_ns = 0;
  int64_t count = 0;
  void Add(int64_t ns) {
    sum_ns += std::max<int64_t>(0, ns);
    ++count;
  }
  int64_t Nanos() const { return count == 0 ? 0 : sum_ns / count; }
};

// Learns what quanta take, and what comes on top of them, from a daemon's decisions.
class Watcher {
 public:
  // From now on quanta are compared with what they should take by these costs.
  void CompareWith(const QuantumCosts& costs) { expected_ = &costs; }

  void Watch(const scheduler::DecisionReader::Decision& decision,
             const std::vector<Command>& ordered) {
    const int64_t now_ns = decision.now_ns;
    if (const auto* attached = std::get_if<scheduler::ReplicaAttached>(&decision.event)) {
      costs_.SetProfile(attached->spec.cost);
    } else if (const auto* submitted = std::get_if<scheduler::JobSubmitted>(&decision.event)) {
      specs_[submitted->spec.id] = submitted->spec;
      submitted_[submitted->spec.id] = now_ns;
    } else if (const auto* released = std::get_if<scheduler::JobReleased>(&decision.event)) {
      commit_.Add(now_ns - submitted_[released->job]);
    } else if (const auto* finished = std::get_if<scheduler::PlanFinished>(&decision.event)) {
      OnFinished(*finished, now_ns);
    }
    for (const Command& command : ordered) {
      const auto* plan = std::get_if<RunPlan>(&command);
      if (plan != nullptr) plans_[{plan->replica, plan->sequence}] = {*plan, now_ns};
    }
  }

  DaemonOverheads overheads() const {
    return {commit_.Nanos(), start_.Nanos(), gap_.Nanos(), media_.Nanos()};
  }
  const QuantumCosts& costs() const { return costs_; }
  const std::array<StagePace, scheduler::kStages>& pace() const { return pace_; }
  int64_t quanta() const { return quanta_; }

 private:
  struct Out {
    RunPlan plan;
    int64_t ordered_ns = 0;
  };

  void OnFinished(const scheduler::PlanFinished& finished, int64_t now_ns) {
    const auto node = plans_.extract({finished.replica, finished.sequence});
    if (node.empty()) return;
    const Out& out = node.mapped();
    ++quanta_;
    const int64_t tokens = TokensOf(out.plan, specs_);
    const double part = PartOf(out.plan, specs_);
    costs_.Observe(out.plan.stage, tokens,
                   std::llround(static_cast<double>(finished.duration_ns) / part));
    if (expected_ != nullptr) {
      StagePace& pace = pace_[static_cast<size_t>(out.plan.stage)];
      ++pace.quanta;
      pace.actual_ns += finished.duration_ns;
      pace.expected_ns +=
          std::llround(part * static_cast<double>(expected_->Nanos(out.plan.stage, tokens)));
    }
    int64_t& last_ns = finished_ns_[finished.replica];
    if (out.plan.stage == Stage::kMediaEncode) {
      media_.Add(now_ns - out.ordered_ns - finished.duration_ns);
    } else if (out.ordered_ns < last_ns) {
      gap_.Add(now_ns - last_ns - finished.duration_ns);
    } else {
      start_.Add(now_ns - out.ordered_ns - finished.duration_ns);
    }
    last_ns = now_ns;
  }

  QuantumCosts costs_;
  const QuantumCosts* expected_ = nullptr;
  std::array<StagePace, scheduler::kStages> pace_;
  Specs specs_;
  absl::flat_hash_map<JobId, int64_t> submitted_;
  std::map<std::pair<ReplicaId, uint64_t>, Out> plans_;
  std::map<ReplicaId, int64_t> finished_ns_;
  Mean commit_;
  Mean start_;
  Mean gap_;
  Mean media_;
  int64_t quanta_ = 0;
};

// What came to the daemon after its warm-up, and what became of it.
class Record {
 public:
  absl::Status Add(const scheduler::DecisionReader::Decision& decision,
                   const std::vector<Command>& ordered) {
    if (std::holds_alternative<scheduler::ReplicaAttached>(decision.event) ||
        std::holds_alternative<scheduler::ReplicaLost>(decision.event)) {
      return Invalid("a worker came or went after the warm-up; what follows cannot be compared");
    }
    if (const auto* submitted = std::get_if<scheduler::JobSubmitted>(&decision.event)) {
      const JobSpec& spec = submitted->spec;
      // A refused one is tried again with other deadlines, to find one that can be offered.
      if (index_.try_emplace(spec.id, jobs_.size()).second) {
        jobs_.push_back({spec.id, spec.tenant, spec.steps, decision.now_ns, spec.deadline_ns});
        specs_.push_back(spec);
      }
    } else if (const auto* released = std::get_if<scheduler::JobReleased>(&decision.event)) {
      released_[released->job] = true;
    } else if (const auto* ended = std::get_if<scheduler::JobEnded>(&decision.event)) {
      if (released_[ended->job]) cancels_.emplace_back(decision.now_ns, ended->job);
    }
    for (const Command& command : ordered) {
      if (const auto* done = std::get_if<scheduler::JobFinished>(&command)) {
        Of(done->job).finished_ns = decision.now_ns;
      } else if (const auto* refused = std::get_if<scheduler::JobRefused>(&command)) {
        Of(refused->job).refused = true;
      }
    }
    return absl::OkStatus();
  }

  // Takes out what was only asked about (EstimateGeneration): such a job leaves before it may run.
  void DropEstimates() {
    size_t kept = 0;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      if (specs_[i].held && !jobs_[i].refused && !released_[jobs_[i].id]) continue;
      jobs_[kept] = jobs_[i];
      specs_[kept++] = specs_[i];
    }
    jobs_.resize(kept);
    specs_.resize(kept);
  }

  const std::vector<JobTimes>& jobs() const { return jobs_; }
  const std::vector<JobSpec>& specs() const { return specs_; }
  const std::vector<std::pair<int64_t, JobId>>& cancels() const { return cancels_; }

 private:
  JobTimes& Of(JobId id) { return jobs_[index_.at(id)]; }

  std::vector<JobTimes> jobs_;
  std::vector<JobSpec> specs_;
  absl::flat_hash_map<JobId, size_t> index_;
  absl::flat_hash_map<JobId, bool> released_;
  std::vector<std::pair<int64_t, JobId>> cancels_;
};

// The daemon around the scheduler, on a simulated clock.
class Simulated {
 public:
  // Quanta take `pace` times what `learned` knows of them.
  Simulated(scheduler::Scheduler scheduler, const Watcher& learned, double pace)
      : scheduler_(std::move(scheduler)),
        costs_(learned.costs()),
        overheads_(learned.overheads()),
        pace_(pace) {}

  std::vector<JobTimes> Run(const Record& record) {
    jobs_ = record.jobs();
    for (size_t i = 0; i < jobs_.size(); ++i) {
      index_[jobs_[i].id] = i;
      specs_[jobs_[i].id] = record.specs()[i];
      jobs_[i].finished_ns = -1;
      jobs_[i].refused = false;
      Push(jobs_[i].arrival_ns, scheduler::JobSubmitted{record.specs()[i]});
    }
    for (const auto& [at_ns, job] : record.cancels()) Push(at_ns, scheduler::JobEnded{job});
    while (!events_.empty()) {
      const auto due = events_.extract(events_.begin());
      Handle(due.mapped(), due.key().first);
    }
    return std::move(jobs_);
  }

 private:
  struct Worker {
    struct Staged {
      RunPlan plan;
      int64_t ordered_ns = 0;
    };
    std::deque<Staged> plans;  // the first runs
    bool running = false;
    int64_t finished_ns = -1;  // its latest report
  };

  void Push(int64_t at_ns, Event event) {
    events_.emplace(std::pair(at_ns, ++last_order_), std::move(event));
  }

  void Handle(const Event& event, int64_t now_ns) {
    const auto* finished = std::get_if<scheduler::PlanFinished>(&event);
    if (finished != nullptr && workers_.contains(finished->replica)) {
      Worker& worker = workers_[finished->replica];
      worker.plans.pop_front();
      worker.running = false;
      worker.finished_ns = now_ns;
      StartNext(worker);
    }
    commands_.clear();
    scheduler_.Handle(event, now_ns, commands_);
    bool refused = false;
    for (const Command& command : commands_) {
      if (const auto* plan = std::get_if<RunPlan>(&command)) {
        Order(*plan, now_ns);
      } else if (const auto* revoke = std::get_if<scheduler::RevokePlan>(&command)) {
        Revoke(*revoke, now_ns);
      } else if (const auto* done = std::get_if<scheduler::JobFinished>(&command)) {
        jobs_[index_.at(done->job)].finished_ns = now_ns;
      } else if (const auto* no = std::get_if<scheduler::JobRefused>(&command)) {
        jobs_[index_.at(no->job)].refused = refused = true;
      }
    }
    const auto* submitted = std::get_if<scheduler::JobSubmitted>(&event);
    if (submitted != nullptr && submitted->spec.held && !refused) {
      Push(now_ns + overheads_.commit_ns, scheduler::JobReleased{submitted->spec.id});
    }
  }

  void Order(const RunPlan& plan, int64_t now_ns) {
    if (plan.stage == Stage::kMediaEncode) {
      // Its threads take one picture each; the scheduler orders no more than there are threads.
      return Report(plan, now_ns + overheads_.media_ns);
    }
    Worker& worker = workers_[plan.replica];
    worker.plans.push_back({plan, now_ns});
    StartNext(worker);
  }

  // Answered in no time, beside quanta of milliseconds.
  void Revoke(const scheduler::RevokePlan& revoke, int64_t now_ns) {
    std::deque<Worker::Staged>& plans = workers_[revoke.replica].plans;
    if (plans.size() > 1 && plans.back().plan.sequence == revoke.sequence) {
      plans.pop_back();
      Push(now_ns, scheduler::PlanRevoked{revoke.replica, revoke.sequence});
    } else {
      Push(now_ns, scheduler::PlanBegun{revoke.replica, revoke.sequence});
    }
  }

  void StartNext(Worker& worker) {
    if (worker.running || worker.plans.empty()) return;
    worker.running = true;
    const Worker::Staged& next = worker.plans.front();
    const bool staged = next.ordered_ns < worker.finished_ns;
    Report(next.plan,
           staged ? worker.finished_ns + overheads_.gap_ns : next.ordered_ns + overheads_.start_ns);
  }

  // The plan's quantum begins at `from_ns`.
  void Report(const RunPlan& plan, int64_t from_ns) {
    const int64_t expected_ns = costs_.Nanos(plan.stage, TokensOf(plan, specs_));
    const int64_t duration_ns =
        std::llround(pace_ * PartOf(plan, specs_) * static_cast<double>(expected_ns));
    scheduler::PlanFinished finished{plan.replica, plan.sequence, duration_ns, {}};
    for (const auto& item : plan.items) {
      finished.items.push_back(
          {item.job, scheduler::PlanFinished::Outcome::kDone, item.checkpoint});
    }
    Push(from_ns + duration_ns, std::move(finished));
  }

  scheduler::Scheduler scheduler_;
  const QuantumCosts& costs_;
  const DaemonOverheads overheads_;
  const double pace_;
  Specs specs_;
  absl::flat_hash_map<JobId, size_t> index_;
  std::vector<JobTimes> jobs_;
  std::map<std::pair<int64_t, uint64_t>, Event> events_;  // by time, then order of their making
  uint64_t last_order_ = 0;
  std::map<ReplicaId, Worker> workers_;
  std::vector<Command> commands_;
};

}  // namespace

absl::StatusOr<DaemonRerun> RerunDaemon(std::string_view log, int64_t warmup_jobs) {
  const auto reader = scheduler::DecisionReader::Open(log);
  if (!reader.ok()) return reader.status();
  auto replay = scheduler::DecisionReplay::Open(log);
  if (!replay.ok()) return replay.status();
  scheduler::Scheduler simulated(reader->policy());
  simulated.set_checkpoint_steps(reader->checkpoint_steps());
  Watcher watcher;
  Watcher run;
  run.CompareWith(watcher.costs());
  Record record;
  std::vector<Command> ignored;
  int64_t released = 0;
  bool warm = false;
  while (true) {
    const bool idle = replay->scheduler().job_count() == 0;
    const auto more = replay->Next();
    if (!more.ok()) return more.status();
    if (!*more) break;
    const auto& decision = replay->decision();
    const bool arrival = std::holds_alternative<scheduler::JobSubmitted>(decision.event);
    warm = warm || (arrival && idle && released >= warmup_jobs);
    released += std::holds_alternative<scheduler::JobReleased>(decision.event) ? 1 : 0;
    if (warm) {
      const absl::Status status = record.Add(decision, replay->ordered());
      if (!status.ok()) return status;
      run.Watch(decision, replay->ordered());
      continue;
    }
    watcher.Watch(decision, replay->ordered());
    ignored.clear();
    simulated.Handle(decision.event, decision.now_ns, ignored);
  }
  record.DropEstimates();
  if (record.jobs().empty()) return Invalid("no job comes after the warm-up and its end");
  DaemonRerun rerun;
  rerun.daemon = record.jobs();
  rerun.simulated = Simulated(simulated, watcher, 1.0).Run(record);
  rerun.overheads = watcher.overheads();
  rerun.quanta = watcher.quanta();
  rerun.pace = run.pace();
  StagePace all;
  for (const StagePace& stage : rerun.pace) {
    all.actual_ns += stage.actual_ns;
    all.expected_ns += stage.expected_ns;
  }
  const double pace = static_cast<double>(all.actual_ns) /
                      static_cast<double>(std::max<int64_t>(1, all.expected_ns));
  rerun.simulated_at_pace = Simulated(std::move(simulated), watcher, pace).Run(record);
  rerun.run_overheads = run.overheads();
  return rerun;
}

}  // namespace darkroom::simulator
