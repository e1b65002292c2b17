#include "scheduler_trace.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/limits.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr double kFirstEpsilon = 0.05;
// Predictions are whole nanoseconds; a job has some hundreds of them.
constexpr int64_t kRounding = 1000;
// More than any job's own error, where quanta take what is predicted.
constexpr double kErrorMax = 0.1;

// The same on several accelerators together.
int64_t CostAt(const ReplicaSpec& replica, Stage stage, int64_t tokens, size_t degree) {
  for (const DegreeCost& of : replica.degrees) {
    if (of.degree != static_cast<int32_t>(degree)) continue;
    for (const CostPoint& point : of.cost) {
      if (point.stage == stage && tokens <= point.tokens) return point.nanos;
    }
  }
  return Cost(replica, stage, tokens);
}

size_t DegreeOf(const RunPlan& plan) { return plan.helpers.size() + 1; }

// One run: replicas that take their plans in order, and a checker beside each event.
class World {
 public:
  explicit World(const Trace& trace) : trace_(trace), scheduler_(trace.config) {
    scheduler_.set_checkpoint_steps(2);
  }

  std::string Run() {
    for (const ReplicaSpec& spec : trace_.replicas) Attach(spec);
    size_t next = 0;
    for (int64_t events = 0; events < 100'000 && broken_.empty(); ++events) {
      const ReplicaId first = FirstToFinish();
      const int64_t finish_ns = first < 0 ? kNoDeadline : live_.at(first).front_ends_ns;
      const int64_t op_ns = next < trace_.ops.size() ? trace_.ops[next].at_ns : kNoDeadline;
      if (!asked_.empty() && asked_.begin()->first <= std::min(finish_ns, op_ns)) {
        now_ns_ = std::max(now_ns_, asked_.begin()->first);
        Answer();
      } else if (next < trace_.ops.size() && trace_.ops[next].at_ns <= finish_ns) {
        now_ns_ = std::max(now_ns_, trace_.ops[next].at_ns);
        Do(trace_.ops[next++]);
      } else if (first >= 0) {
        now_ns_ = finish_ns;
        Finish(first);
      } else {
        break;
      }
    }
    if (broken_.empty() && !jobs_.empty()) Break("G1", absl::StrCat(jobs_.size(), " never ended"));
    if (broken_.empty()) CheckReplay();
    return broken_;
  }

 private:
  struct LiveJob {
    JobSpec spec;  // with its deadline on the clock
    Position next;
    int32_t checkpoint = 0;
    bool guaranteed = false;
    ReplicaId replica = kNowhere;
    uint32_t slot = 0;
    uint64_t epoch = 0;
    NumericsKey numerics = 0;
    bool lost_replica = false;
    bool finishing = false;
  };
  struct LiveReplica {
    ReplicaSpec spec;
    int64_t moves_ns = 0;                // of jobs that came and have not run yet
    std::map<uint64_t, int64_t> delays;  // what plans wait for such jobs, by sequence
    std::deque<RunPlan> plans;
    int64_t front_ends_ns = 0;
    std::set<uint32_t> slots;
    ReplicaId helps = kNowhere;
    int64_t idle_since_ns = -1;  // with work that it may run
  };

  void Break(std::string_view guarantee, const std::string& what) {
    if (broken_.empty()) {
      broken_ = absl::StrCat(absl::string_view(guarantee.data(), guarantee.size()), ": ", what,
                             " at ", now_ns_);
    }
  }

  void Attach(const ReplicaSpec& spec) {
    live_[++last_replica_].spec = spec;
    Send(ReplicaAttached{last_replica_, spec});
  }

  ReplicaId FirstToFinish() const {
    ReplicaId first = -1;
    for (const auto& [id, replica] : live_) {
      if (replica.plans.empty()) continue;
      if (first < 0 || replica.front_ends_ns < live_.at(first).front_ends_ns) first = id;
    }
    return first;
  }

  // What the plan takes: the table's own answer, at the trace's pace.
  int64_t TrueNanos(const LiveReplica& replica, const RunPlan& plan) const {
    int64_t tokens = 0;
    int32_t segments = 1;
    for (const auto& item : plan.items) {
      const JobSpec& spec = specs_.at(item.job);
      tokens += Tokens(spec, plan.stage);
      segments = spec.segments;
    }
    const auto nanos =
        static_cast<double>(CostAt(replica.spec, plan.stage, tokens, DegreeOf(plan)));
    const double share = plan.stage == Stage::kDenoise
                             ? static_cast<double>(plan.segment_end - plan.segment_begin) / segments
                             : 1.0;
    return std::max<int64_t>(1, static_cast<int64_t>(nanos * share * trace_.pace));
  }

  // From its start to its end, with the moves before it.
  int64_t OccupiedNanos(const LiveReplica& replica, const RunPlan& plan) const {
    return TrueNanos(replica, plan) + replica.delays.at(plan.sequence);
  }

  void Do(const TraceOp& op) {
    switch (op.kind) {
      case TraceOp::Kind::kSubmit:
        return Submit(op.spec);
      case TraceOp::Kind::kCancel: {
        if (jobs_.empty()) return;
        auto it = std::next(jobs_.begin(), static_cast<long>(op.pick % jobs_.size()));
        const JobId id = it->first;
        jobs_.erase(it);
        return Send(JobEnded{id});
      }
      case TraceOp::Kind::kLose: {
        auto it = std::next(live_.begin(), static_cast<long>(op.pick % live_.size()));
        const ReplicaSpec spec = it->second.spec;
        const ReplicaId id = it->first;
        FreeHelpersOf(id);
        // A gang's plan is lost with any of its replicas.
        if (it->second.helps != kNowhere) {
          const ReplicaId first = it->second.helps;
          FreeHelpersOf(first);
          live_.at(first).plans.clear();
        }
        live_.erase(it);
        for (auto& [job_id, job] : jobs_) job.lost_replica = true;
        Send(ReplicaLost{id});
        return Attach(spec);
      }
      case TraceOp::Kind::kWeight:
        weights_[op.weight.tenant] = op.weight.weight;
        return Send(op.weight);
    }
  }

  void FreeHelpersOf(ReplicaId first) {
    for (auto& [id, replica] : live_) {
      if (replica.helps == first) replica.helps = kNowhere;
    }
  }

  void Submit(JobSpec spec) {
    if (spec.deadline_ns != kNoDeadline) spec.deadline_ns += now_ns_;
    double least = std::numeric_limits<double>::infinity();
    bool active = false;
    for (const auto& [id, job] : jobs_) {
      least = std::min(least, scheduler_.VirtualTime(job.spec.tenant));
      active = active || job.spec.tenant == spec.tenant;
    }
    LiveJob& job = jobs_[spec.id];
    job.spec = spec;
    job.next = FirstPosition(spec, 0);
    job.guaranteed = spec.service_class == ServiceClass::kGuaranteed;
    const bool others = least < std::numeric_limits<double>::infinity();
    specs_[spec.id] = spec;
    submitted_ = spec.id;
    Send(JobSubmitted{spec});
    submitted_ = 0;
    if (jobs_.contains(spec.id) && !active && others &&
        scheduler_.VirtualTime(spec.tenant) < least) {
      Break("G3", absl::StrCat("tenant ", spec.tenant, " came back with credit"));
    }
  }

  void Finish(ReplicaId id) {
    LiveReplica& replica = live_.at(id);
    const RunPlan plan = replica.plans.front();
    const int64_t duration_ns = TrueNanos(replica, plan);
    replica.plans.pop_front();
    FreeHelpersOf(id);
    if (!replica.plans.empty()) {
      replica.front_ends_ns = now_ns_ + OccupiedNanos(replica, replica.plans.front());
    }
    PlanFinished finished{id, plan.sequence, duration_ns, {}};
    bool any = false;
    std::map<JobId, int64_t> caps;
    int64_t tokens = 0;
    for (const auto& item : plan.items) {
      const auto job = jobs_.find(item.job);
      const bool here = job != jobs_.end() && job->second.replica == id;
      any = any || here;
      finished.items.push_back(
          {item.job, here ? PlanFinished::Outcome::kDone : PlanFinished::Outcome::kSkipped,
           here && item.checkpoint});
      if (!here) continue;
      if (item.checkpoint) job->second.checkpoint = item.step + 1;
      caps[item.job] = Tokens(job->second.spec, plan.stage);
      tokens += caps[item.job];
    }
    const int64_t together_ns = CostAt(replica.spec, plan.stage, tokens, DegreeOf(plan));
    if (caps.size() < plan.items.size()) caps.clear();  // the batch was not what was predicted
    // Each degree's costs are corrected by its own quanta.
    if (DegreeOf(plan) > 1 && trace_.pace != 1.0) caps.clear();
    for (auto& [job, cap] : caps) {
      const auto alone = static_cast<double>(Cost(replica.spec, plan.stage, cap));
      cap = static_cast<int64_t>(alone * static_cast<double>(duration_ns) /
                                 static_cast<double>(together_ns)) +
            2;
    }
    // Who asked for helpers pays for them.
    if (needed_.erase({id, plan.sequence}) > 0 && !plan.items.empty()) {
      caps.erase(plan.items.front().job);
    }
    charged_ns_ = 0;
    nobodys_ns_ = 0;
    caps_ = caps;
    Send(finished);
    caps_.clear();
    const int64_t busy_ns = duration_ns * static_cast<int64_t>(DegreeOf(plan));
    // Where nobody was there any more nobody pays, but for helpers that nobody asked for.
    if (any ? charged_ns_ != busy_ns : DegreeOf(plan) == 1 && charged_ns_ != 0) {
      Break("G7", absl::StrCat("charged ", charged_ns_, " of ", busy_ns));
    }
    if (all_needed_.erase({id, plan.sequence}) > 0 && any && nobodys_ns_ != 0) {
      Break("G7", absl::StrCat("nobody pays for ", nobodys_ns_, " ns that a deadline asked for"));
    }
  }

  // A replica that was asked to give a plan back says whether it has begun it.
  void Answer() {
    const RevokePlan asked = asked_.extract(asked_.begin()).mapped();
    const auto it = live_.find(asked.replica);
    if (it == live_.end()) return;
    std::deque<RunPlan>& plans = it->second.plans;
    if (!plans.empty() && plans.front().sequence == asked.sequence) {
      return Send(PlanBegun{asked.replica, asked.sequence});
    }
    if (plans.empty() || plans.back().sequence != asked.sequence) return;  // it has run
    const RunPlan plan = plans.back();
    plans.pop_back();
    std::map<TenantId, double> before;
    for (const auto& item : plan.items) {
      const auto job = jobs_.find(item.job);
      if (job == jobs_.end() || job->second.replica != asked.replica) continue;
      job->second.next = {plan.stage, item.step,
                          plan.stage == Stage::kDenoise ? plan.segment_begin : 0};
      job->second.finishing = false;
    }
    for (const auto& [id, spec] : specs_) {
      before[spec.tenant] = scheduler_.VirtualTime(spec.tenant);
    }
    charged_ns_ = 0;
    dispatched_ns_ = 0;
    Send(PlanRevoked{asked.replica, asked.sequence});
    // What was foreseen for it is given back, and nothing is charged.
    double owed_ns = static_cast<double>(plan.predicted_ns - dispatched_ns_);
    for (const auto& [tenant, virtual_ns] : before) {
      const auto weight = weights_.find(tenant);
      owed_ns += (scheduler_.VirtualTime(tenant) - virtual_ns) *
                 (weight == weights_.end() ? 1.0 : weight->second);
    }
    if (charged_ns_ != 0 || std::abs(owed_ns) > kRounding) {
      Break("revocation", absl::StrCat("a plan that did not run costs ", owed_ns, " ns"));
    }
  }

  void Send(const Event& event) {
    log_.emplace_back(now_ns_, event);
    std::vector<Command> commands;
    scheduler_.Handle(event, now_ns_, commands);
    for (const Command& command : commands) {
      written_ += Write(command);
      std::visit([this](const auto& c) { On(c); }, command);
    }
    const auto invariants = scheduler_.BrokenInvariants();
    if (!invariants.empty()) Break("bookkeeping", invariants.front());
    CheckNoIdleReplica();
    CheckNotTooWide();
  }

  // ---- commands ----
  void On(const OpenSlot& open) {
    LiveJob& job = jobs_.at(open.job);
    LiveReplica& replica = live_.at(open.replica);
    if (!replica.slots.insert(open.slot).second ||
        static_cast<int32_t>(open.slot) >= replica.spec.slots) {
      Break("slots", absl::StrCat("slot ", open.slot, " is taken"));
    }
    if (open.from_replica != kNowhere) {
      CheckMove(open, job);
      replica.moves_ns += replica.spec.move_ns;
    } else {
      if (open.resume_step != job.checkpoint) Break("G9", "resumes elsewhere than it was saved");
      if (job.numerics != 0 && job.numerics != replica.spec.numerics) {
        Break("G9", "goes on with other bits than it began with");
      }
      job.next = FirstPosition(job.spec, open.resume_step);
    }
    job.replica = open.replica;
    job.slot = open.slot;
    job.epoch = open.epoch;
    job.numerics = replica.spec.numerics;
  }
  // G11: between two steps, with nothing of it under way, to equal bits, out of the slot it has.
  void CheckMove(const OpenSlot& open, const LiveJob& job) {
    const auto from = live_.find(open.from_replica);
    if (from == live_.end() || job.replica != open.from_replica || job.slot != open.from_slot ||
        job.epoch != open.from_epoch || open.from_replica == open.replica) {
      return Break("G11", "moves out of a slot that is not its");
    }
    const ReplicaSpec& to = live_.at(open.replica).spec;
    if (from->second.spec.numerics != to.numerics) Break("G11", "moves to other bits");
    if (!from->second.spec.moves || !to.moves) Break("G11", "moves where that is not allowed");
    if (job.next.segment != 0 || job.next.stage != Stage::kDenoise ||
        job.next.step != open.resume_step || job.finishing ||
        (job.guaranteed && !job.lost_replica)) {
      Break("G11", absl::StrCat("job ", open.job, " moves inside a step, or with a guarantee"));
    }
    for (const RunPlan& plan : from->second.plans) {
      for (const auto& item : plan.items) {
        if (item.job == open.job) Break("G11", "moves while it runs");
      }
    }
  }
  void On(const CloseSlot& close) {
    live_.at(close.replica).slots.erase(close.slot);
    const auto job = jobs_.find(close.job);
    if (job != jobs_.end() && job->second.replica == close.replica) job->second.replica = kNowhere;
  }
  void On(const Charge& charge) {
    charged_ns_ += charge.nanos;
    if (charge.job == 0) nobodys_ns_ += charge.nanos;
    const auto cap = caps_.find(charge.job);
    if (cap != caps_.end() && charge.nanos > cap->second) {
      Break("G7",
            absl::StrCat("job ", charge.job, " pays ", charge.nanos, ", alone ", cap->second));
    }
  }
  void On(const JobFinished& finished) {
    const LiveJob& job = jobs_.at(finished.job);
    if (!job.finishing) Break("G9", "ends before its last stage");
    if (job.guaranteed && !job.lost_replica && now_ns_ > job.spec.deadline_ns + kRounding) {
      Break("G4", absl::StrCat("guaranteed job ", finished.job, " is ",
                               now_ns_ - job.spec.deadline_ns, " ns late"));
    }
    jobs_.erase(finished.job);
  }
  void On(const JobRequeued& requeued) {
    LiveJob& job = jobs_.at(requeued.job);
    if (requeued.resume_step != job.checkpoint) Break("G9", "goes on elsewhere than it was saved");
    job.replica = kNowhere;
    job.finishing = false;
    if (job.checkpoint == 0) job.numerics = 0;
    job.next = FirstPosition(job.spec, job.checkpoint);
  }
  void On(const EvictWeights&) {}  // no replica here loads weights (residency_trace.cc)
  void On(const LoadWeights&) {}
  void On(const JobQuarantined& quarantined) { jobs_.erase(quarantined.job); }
  void On(const JobRefused& refused) {
    const LiveJob& job = jobs_.at(refused.job);
    if (job.spec.service_class == ServiceClass::kBestEffort || refused.job != submitted_) {
      Break("admission", absl::StrCat("job ", refused.job, " is refused"));
    }
    if (refused.offered_deadline_ns <= job.spec.deadline_ns) {
      Break("admission", "offers what was asked for");
    }
    jobs_.erase(refused.job);
  }

  void On(const RevokePlan& asked) {
    const LiveReplica& replica = live_.at(asked.replica);
    if (!replica.spec.revokes || replica.plans.size() < 2 ||
        replica.plans.back().sequence != asked.sequence) {
      Break("revocation", "asks for a plan that is not staged");
    }
    // At once, soon, or when the replica may be long past it.
    const int64_t delay_ns = static_cast<int64_t>(asked.sequence % 3) * 4 * kMillisecond;
    asked_.emplace(now_ns_ + delay_ns, asked);
  }

  void On(const RunPlan& plan) {
    for (const auto& [at_ns, asked] : asked_) {
      if (asked.replica == plan.replica && PlanIsOut(asked)) {
        Break("revocation", "another plan is sent before the answer");
      }
    }
    dispatched_ns_ += plan.predicted_ns;
    LiveReplica& replica = live_.at(plan.replica);
    if (replica.helps != kNowhere) Break("gang", "a replica runs a plan while it helps");
    if (!plan.helpers.empty()) CheckGang(plan, replica);
    for (const ReplicaId helper : plan.helpers) live_.at(helper).helps = plan.replica;
    CheckBatch(plan, replica);
    CheckMembers(plan, replica);
    int64_t tokens = 0;
    for (const auto& item : plan.items) {
      LiveJob& job = jobs_.at(item.job);
      tokens += Tokens(job.spec, plan.stage);
      const Position at{plan.stage, item.step,
                        plan.stage == Stage::kDenoise ? plan.segment_begin : 0};
      if (at != job.next || job.finishing) {
        Break("G9", absl::StrCat("job ", item.job, " runs step ", item.step, " out of order"));
      }
      job.next = After(job.next, job.spec, plan.segment_end - plan.segment_begin, job.finishing);
    }
    replica.delays[plan.sequence] = std::exchange(replica.moves_ns, 0);
    replica.plans.push_back(plan);
    if (replica.plans.size() == 1) {
      replica.front_ends_ns = now_ns_ + OccupiedNanos(replica, replica.plans.front());
    }
    CheckGuarantees(plan.replica, replica);
  }

  bool PlanIsOut(const RevokePlan& asked) const {
    const std::deque<RunPlan>& plans = live_.at(asked.replica).plans;
    return std::any_of(plans.begin(), plans.end(),
                       [&](const RunPlan& plan) { return plan.sequence == asked.sequence; });
  }

  // ---- checks ----
  // An aligned block of idle replicas, none of which has promised its time.
  void CheckGang(const RunPlan& plan, const LiveReplica& replica) {
    std::set<int32_t> ranks = {replica.spec.gang_rank};
    for (const ReplicaId id : plan.helpers) {
      const LiveReplica& helper = live_.at(id);
      ranks.insert(helper.spec.gang_rank);
      if (!helper.plans.empty() || helper.helps != kNowhere || id == plan.replica) {
        Break("gang", absl::StrCat("replica ", id, " helps and is not idle"));
      }
      if (helper.spec.gang != replica.spec.gang) Break("gang", "of two gangs");
      for (const auto& [job_id, job] : jobs_) {
        const bool promised = job.guaranteed && !job.lost_replica && !job.finishing;
        if (promised && job.replica == id) {
          Break("G6", absl::StrCat("replica ", id, " helps and has promised job ", job_id));
        }
      }
    }
    const auto degree = static_cast<int32_t>(DegreeOf(plan));
    const bool offered =
        std::any_of(replica.spec.degrees.begin(), replica.spec.degrees.end(),
                    [degree](const DegreeCost& cost) { return cost.degree == degree; });
    if (!offered || static_cast<int32_t>(ranks.size()) != degree || *ranks.begin() % degree != 0 ||
        *ranks.rbegin() != *ranks.begin() + degree - 1 || plan.stage != Stage::kDenoise) {
      Break("gang", absl::StrCat(degree, " replicas from rank ", *ranks.begin()));
    }
    const LiveJob& head = jobs_.at(plan.items.front().job);
    if (!InTimeAt(replica, head, plan.items.front().step, 1)) {
      needed_.insert({plan.replica, plan.sequence});
    }
    if (NeedsAll(replica, head, plan.items.front().step, degree)) {
      all_needed_.insert({plan.replica, plan.sequence});
    }
    const int32_t half = degree / 2;
    if (InTimeAt(replica, head, plan.items.front().step, half) &&
        FitsQuantum(replica.spec, head, half)) {
      wide_.push_back(plan);
    }
  }

  // Nobody has more accelerators than it asks for while a job for which one is enough stands still.
  // Others may: who asks for more may wait until so many are idle, beside ranks that it cannot use.
  // Where a rank is idle it is not for the width that anybody waits; that is G1's to bound.
  void CheckNotTooWide() {
    const std::vector<RunPlan> wide = std::exchange(wide_, {});
    const bool idle = std::any_of(live_.begin(), live_.end(), [](const auto& of) {
      return of.second.plans.empty() && of.second.helps == kNowhere;
    });
    if (idle) return;
    for (const RunPlan& plan : wide) {
      const LiveReplica& replica = live_.at(plan.replica);
      for (const auto& [id, job] : jobs_) {
        if (MightComeTo(replica, id, job) && FitsQuantum(replica.spec, job, 1) &&
            InTimeAt(replica, job, job.next.step, 1)) {
          Break("degree", absl::StrCat("job ", id, " stands still beside ", DegreeOf(plan),
                                       " accelerators for one that needs fewer"));
        }
      }
    }
  }

  // A step takes no longer than a quantum may at that degree, or at a smaller one.
  static bool FitsQuantum(const ReplicaSpec& spec, const LiveJob& job, int32_t degree) {
    for (; degree >= 1 && spec.quantum_ns_max > 0; degree /= 2) {
      const int64_t step_ns =
          CostAt(spec, Stage::kDenoise, job.spec.step_tokens, static_cast<size_t>(degree));
      if (step_ns <= spec.quantum_ns_max) return true;
    }
    return spec.quantum_ns_max == 0;
  }

  // What is left of the job at that degree, as predicted.
  static double LeftNanosAt(const LiveReplica& replica, const LiveJob& job, int32_t step,
                            int32_t degree) {
    const bool decodes = Needs(job.spec, Stage::kDecode);
    const auto tail_ns = static_cast<double>(
        decodes ? Cost(replica.spec, Stage::kDecode, Tokens(job.spec, Stage::kDecode)) : 0);
    const auto step_ns = static_cast<double>(
        CostAt(replica.spec, Stage::kDenoise, job.spec.step_tokens, static_cast<size_t>(degree)));
    return step_ns * (job.spec.steps - step) + tail_ns;
  }

  // Whether the job ends in time at that degree, whatever its error was when it came.
  bool InTimeAt(const LiveReplica& replica, const LiveJob& job, int32_t step,
                int32_t degree) const {
    if (job.spec.deadline_ns == kNoDeadline || trace_.pace != 1.0) return false;
    const double left_ns = LeftNanosAt(replica, job, step, degree) * (1 + kErrorMax);
    return left_ns <= static_cast<double>(job.spec.deadline_ns - now_ns_);
  }

  // Whether it is in time at that degree, and at no smaller one, whatever its error was.
  bool NeedsAll(const LiveReplica& replica, const LiveJob& job, int32_t step,
                int32_t degree) const {
    if (!InTimeAt(replica, job, step, degree)) return false;
    const auto room_ns = static_cast<double>(job.spec.deadline_ns - now_ns_);
    for (int32_t fewer = 1; fewer < degree; fewer *= 2) {
      if (LeftNanosAt(replica, job, step, fewer) <= room_ns) return false;
    }
    return true;
  }

  void CheckBatch(const RunPlan& plan, const LiveReplica& replica) {
    std::set<TenantId> tenants;
    std::set<JobId> ids;
    std::set<ModelId> models;
    bool exclusive = false;
    int64_t tokens = 0;
    for (const auto& item : plan.items) {
      const LiveJob& job = jobs_.at(item.job);
      ids.insert(item.job);
      tenants.insert(job.spec.tenant);
      models.insert(job.spec.model);
      exclusive = exclusive || job.spec.isolation != Isolation::kShared;
      tokens += job.spec.step_tokens;
      if (job.replica != plan.replica) Break("isolation", "runs where it has no slot");
    }
    if (ids.size() != plan.items.size() || ids.empty()) Break("batch", "a job twice, or none");
    if (models.size() > 1) Break("batch", "two models");
    if (exclusive && tenants.size() > 1) Break("isolation", "an exclusive tenant has company");
    if (plan.stage == Stage::kDenoise && ids.size() > 1 && tokens > replica.spec.step_tokens_max) {
      Break("batch", "beyond the knee");
    }
    if (static_cast<int>(replica.plans.size()) >= replica.spec.plans_in_flight_max) {
      Break("batch", "more plans than the replica holds");
    }
  }

  // No member that could still be in time gets late by its company.
  void CheckMembers(const RunPlan& plan, const LiveReplica& replica) {
    if (plan.stage != Stage::kDenoise || plan.items.size() < 2 || trace_.pace != 1.0) return;
    int64_t start_ns = now_ns_;
    if (!replica.plans.empty()) start_ns = replica.front_ends_ns;
    for (size_t i = 1; i < replica.plans.size(); ++i) {
      start_ns += OccupiedNanos(replica, replica.plans[i]);
    }
    int64_t tokens = 0;
    for (const auto& item : plan.items) tokens += jobs_.at(item.job).spec.step_tokens;
    const auto step_ns =
        static_cast<double>(CostAt(replica.spec, Stage::kDenoise, tokens, DegreeOf(plan)));
    for (const auto& item : plan.items) {
      const JobSpec& spec = jobs_.at(item.job).spec;
      if (spec.deadline_ns == kNoDeadline) continue;
      const double steps =
          spec.steps - item.step - static_cast<double>(plan.segment_begin) / spec.segments;
      const bool decodes = Needs(spec, Stage::kDecode);
      const auto tail_ns = static_cast<double>(
          decodes ? Cost(replica.spec, Stage::kDecode, Tokens(spec, Stage::kDecode)) : 0);
      const auto alone_ns =
          static_cast<double>(Cost(replica.spec, Stage::kDenoise, spec.step_tokens));
      const auto left_ns = static_cast<double>(spec.deadline_ns - start_ns);
      const bool in_time = (steps * alone_ns + tail_ns) * (1 + kFirstEpsilon) < left_ns;
      if (in_time && steps * step_ns + tail_ns > left_ns + kRounding) {
        Break("members", absl::StrCat("job ", item.job, " gets late by its batch"));
      }
    }
  }

  // G6: whatever was dispatched, every guarantee placed on this replica can still be kept, earliest
  // deadline first; recomputed here from the table alone.
  void CheckGuarantees(ReplicaId id, const LiveReplica& replica) {
    if (trace_.pace != 1.0) return;
    int64_t free_ns = replica.front_ends_ns;
    for (size_t i = 1; i < replica.plans.size(); ++i) {
      free_ns += OccupiedNanos(replica, replica.plans[i]);
    }
    std::map<int64_t, int64_t> due;
    for (const auto& [job_id, job] : jobs_) {
      // One that has no slot yet may be placed elsewhere.
      if (!job.guaranteed || job.lost_replica || job.replica != id || job.finishing) continue;
      int64_t left_ns = 0;
      for (int i = static_cast<int>(job.next.stage); i < kStages; ++i) {
        const auto stage = static_cast<Stage>(i);
        if (stage == Stage::kMediaEncode || !Needs(job.spec, stage)) continue;
        const int64_t cost_ns = Cost(replica.spec, stage, Tokens(job.spec, stage));
        left_ns += stage == Stage::kDenoise ? cost_ns * (job.spec.steps - job.next.step) -
                                                  cost_ns * job.next.segment / job.spec.segments
                                            : cost_ns;
      }
      due[job.spec.deadline_ns] += left_ns;
    }
    int64_t ahead_ns = 0;
    for (const auto& [deadline_ns, left_ns] : due) {
      ahead_ns += left_ns;
      if (free_ns + ahead_ns > deadline_ns + kRounding) {
        Break("G6", absl::StrCat("what was dispatched leaves a guarantee short by ",
                                 free_ns + ahead_ns - deadline_ns, " ns"));
      }
    }
  }

  // Alone, never; in a gang, while others of it end what they run.
  void CheckNoIdleReplica() {
    for (auto& [id, replica] : live_) {
      if (!replica.plans.empty()) longest_ns_ = std::max(longest_ns_, LongestOf(replica));
      const std::string why =
          replica.plans.empty() && replica.helps == kNowhere ? WhatWaitsFor(id, replica) : "";
      if (why.empty()) {
        replica.idle_since_ns = -1;
        continue;
      }
      if (replica.idle_since_ns < 0) replica.idle_since_ns = now_ns_;
      const int64_t limit_ns = replica.spec.gang < 0 ? 0 : longest_ns_ + kRounding;
      if (replica.spec.gang < 0 || now_ns_ - replica.idle_since_ns > limit_ns) {
        return Break("G1", absl::StrCat("replica ", id, " idles ", why));
      }
    }
  }

  int64_t LongestOf(const LiveReplica& replica) const {
    int64_t longest_ns = 0;
    for (const RunPlan& plan : replica.plans) {
      longest_ns = std::max(longest_ns, OccupiedNanos(replica, plan));
    }
    return longest_ns;
  }

  // Empty: nothing that it might run.
  std::string WhatWaitsFor(ReplicaId id, const LiveReplica& replica) const {
    const auto fits_alone = [&](const LiveJob& job) {
      return replica.spec.gang < 0 || FitsQuantum(replica.spec, job, 1);
    };
    for (const auto& [job_id, job] : jobs_) {
      if (job.replica == id && !job.finishing && fits_alone(job)) {
        return absl::StrCat("with job ", job_id, " aboard");
      }
    }
    if (!replica.slots.empty()) return "";
    for (const auto& [job_id, job] : jobs_) {
      if (!fits_alone(job)) continue;
      const bool fits = job.checkpoint == 0 && !job.guaranteed &&
                        std::find(replica.spec.models.begin(), replica.spec.models.end(),
                                  job.spec.model) != replica.spec.models.end();
      if (fits && job.replica == kNowhere) return absl::StrCat("while job ", job_id, " waits");
      if (MightComeTo(replica, job_id, job)) {
        return absl::StrCat("while job ", job_id, " stands still elsewhere");
      }
    }
    return "";
  }

  // The job has begun elsewhere, nothing of it is under way, and it may move here.
  bool MightComeTo(const LiveReplica& replica, JobId id, const LiveJob& job) const {
    if (job.guaranteed || job.replica == kNowhere || job.next.segment != 0 || job.finishing ||
        job.next.stage != Stage::kDenoise || job.lost_replica || job.spec.image_encode) {
      return false;
    }
    const LiveReplica& from = live_.at(job.replica);
    for (const RunPlan& plan : from.plans) {
      for (const auto& item : plan.items) {
        if (item.job == id) return false;
      }
    }
    // What moving costs may hold it back; where it is free nothing does.
    return replica.spec.moves && from.spec.moves && from.spec.move_ns == 0 &&
           from.spec.numerics == replica.spec.numerics;
  }

  static std::string Write(const Command& command) {
    std::string text = absl::StrCat(command.index(), ":");
    if (const auto* open = std::get_if<OpenSlot>(&command)) {
      absl::StrAppend(&text, open->replica, ",", open->job, ",", open->slot, ",", open->epoch, ",",
                      open->from_replica, ",", open->from_slot);
    } else if (const auto* run = std::get_if<RunPlan>(&command)) {
      absl::StrAppend(&text, run->replica, ",", run->sequence, ",", run->predicted_ns, ",",
                      run->segment_end);
      for (const auto& item : run->items) absl::StrAppend(&text, ",", item.job, "/", item.step);
      for (const ReplicaId helper : run->helpers) absl::StrAppend(&text, "+", helper);
    } else if (const auto* revoke = std::get_if<RevokePlan>(&command)) {
      absl::StrAppend(&text, revoke->replica, ",", revoke->sequence);
    } else if (const auto* charge = std::get_if<Charge>(&command)) {
      absl::StrAppend(&text, charge->job, ",", charge->nanos);
    }
    return absl::StrCat(text, "\n");
  }

  void CheckReplay() {
    Scheduler again(trace_.config);
    again.set_checkpoint_steps(2);
    std::string written;
    for (const auto& [now_ns, event] : log_) {
      std::vector<Command> commands;
      again.Handle(event, now_ns, commands);
      for (const Command& command : commands) written += Write(command);
    }
    if (written != written_) Break("G10", "the same events gave other commands");
  }

  const Trace& trace_;
  Scheduler scheduler_;
  int64_t now_ns_ = 0;
  ReplicaId last_replica_ = 0;
  std::map<ReplicaId, LiveReplica> live_;
  std::map<JobId, LiveJob> jobs_;
  std::map<JobId, JobSpec> specs_;  // of those that ended, too
  JobId submitted_ = 0;
  int64_t charged_ns_ = 0;
  int64_t dispatched_ns_ = 0;
  std::multimap<int64_t, RevokePlan> asked_;  // without an answer, by when it comes
  std::map<TenantId, double> weights_;        // but 1
  std::map<JobId, int64_t> caps_;
  std::set<std::pair<ReplicaId, uint64_t>> needed_;      // plans whose first job needs its helpers
  std::set<std::pair<ReplicaId, uint64_t>> all_needed_;  // and all of them to be in time
  int64_t nobodys_ns_ = 0;
  std::vector<RunPlan> wide_;  // of this event, wider than anybody asked
  int64_t longest_ns_ = 0;
  std::string broken_;
  std::string written_;
  std::vector<std::pair<int64_t, Event>> log_;
};

}  // namespace

std::string RunTrace(const Trace& trace) { return World(trace).Run(); }

Trace Shrink(Trace trace) {
  const std::string broken = RunTrace(trace);
  const std::string guarantee = broken.substr(0, broken.find(':'));
  for (size_t length = std::max<size_t>(1, trace.ops.size() / 2); length >= 1; length /= 2) {
    for (size_t begin = 0; begin < trace.ops.size();) {
      Trace smaller = trace;
      const size_t end = std::min(trace.ops.size(), begin + length);
      smaller.ops.erase(smaller.ops.begin() + static_cast<long>(begin),
                        smaller.ops.begin() + static_cast<long>(end));
      const std::string still = RunTrace(smaller);
      if (still.substr(0, still.find(':')) == guarantee) {
        trace = std::move(smaller);
      } else {
        begin = end;
      }
    }
  }
  return trace;
}

std::string Describe(const Trace& trace) {
  const ReplicaSpec& replica = trace.replicas.front();
  std::string text = absl::StrCat(
      trace.replicas.size(), " replicas, ", replica.slots, " slots, knee ", replica.step_tokens_max,
      ", ", replica.plans_in_flight_max, " plans, quantum ", replica.quantum_ns_max, ", pace ",
      trace.pace, ", burst ", trace.config.burst_credit_ns, ", moves ", replica.moves, ", a move ",
      replica.move_ns, ", gang ", replica.gang, " of ", replica.degrees.size() + 1, " degrees\n");
  for (const TraceOp& op : trace.ops) {
    absl::StrAppend(&text, "  ", op.at_ns, " ns: op ", static_cast<int>(op.kind), " job ",
                    op.spec.id, " tenant ", op.spec.tenant, " class ",
                    static_cast<int>(op.spec.service_class), " steps ", op.spec.steps, " tokens ",
                    op.spec.step_tokens, " segments ", op.spec.segments, " stages ", op.spec.stages,
                    " deadline ", op.spec.deadline_ns, "\n");
  }
  return text;
}

}  // namespace darkroom::scheduler
