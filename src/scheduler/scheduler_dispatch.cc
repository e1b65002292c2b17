// Which jobs run together next, and where.

#include <algorithm>
#include <limits>
#include <utility>

#include "scheduler/charge_split.h"
#include "scheduler/limits.h"
#include "scheduler/mutation.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

bool Serves(const ReplicaSpec& spec, Stage stage) { return (spec.stages & StageBit(stage)) != 0; }

// The autoencoder takes images one after the other, so more than one in a plan would only lengthen
// the quantum.
bool OneByOne(Stage stage) { return stage == Stage::kDecode || stage == Stage::kImageEncode; }

// A job with that adapter makes the batch's adapters one more.
bool Brings(const std::vector<uint32_t>& adapters, uint32_t adapter) {
  return adapter != 0 && std::find(adapters.begin(), adapters.end(), adapter) == adapters.end();
}

// What adapters add to the quantum is theirs who use them; the rest goes by tokens.
void WeighAdapters(int64_t adapter_ns, const std::vector<Job*>& jobs, Plan& plan) {
  const int64_t each_ns = adapter_ns * plan.segments / plan.segments_of_step;
  const int64_t rest_ns = std::max<int64_t>(0, plan.predicted_ns - each_ns * plan.adapters);
  for (size_t i = 0; i < jobs.size(); ++i) {
    const uint32_t adapter = jobs[i]->spec.adapter;
    PlanItem& item = plan.items[i];
    item.weight = static_cast<int64_t>(static_cast<__int128>(rest_ns) * item.tokens / plan.tokens);
    if (adapter == 0) continue;
    const auto users = std::count_if(jobs.begin(), jobs.end(), [adapter](const Job* job) {
      return job->spec.adapter == adapter;
    });
    item.weight += each_ns / users;
  }
}

}  // namespace

void Scheduler::Dispatch(std::vector<Command>& commands) {
  while (!touched_replicas_.empty() || !touched_groups_.empty()) {
    // Round by round, so that an idle replica gets its first plan before another its second.
    while (!touched_replicas_.empty()) {
      auto least = touched_replicas_.end();
      size_t plans = 0;
      for (auto it = touched_replicas_.begin(); it != touched_replicas_.end(); ++it) {
        const auto replica = replicas_.find(*it);
        const size_t has = replica == replicas_.end() ? 0 : replica->second.plans.size();
        if (least == touched_replicas_.end() || has < plans) {
          least = it;
          plans = has;
        }
      }
      const ReplicaId id = *least;
      if (!DispatchOne(id, commands)) touched_replicas_.erase(id);
    }
    if (touched_groups_.empty()) break;
    const GroupKey key = *touched_groups_.begin();
    touched_groups_.erase(touched_groups_.begin());
    Group& group = groups_[key];
    const auto has_work = [&group] {
      return !group.queue.empty() || std::any_of(group.started.begin(), group.started.end(),
                                                 [](const auto& of) { return !of.second.empty(); });
    };
    for (auto it = group.hungry.begin(); it != group.hungry.end() && has_work();) {
      const auto [has, id] = *it;
      // Sending changes the order of the hungry, so the search goes on from where it was.
      if (DispatchOne(id, commands)) {
        touched_replicas_.insert(id);  // it may stage another
        it = group.hungry.lower_bound({has, id});
      } else {
        it = group.hungry.upper_bound({has, id});
      }
    }
  }
}

bool Scheduler::DispatchOne(ReplicaId id, std::vector<Command>& commands) {
  const auto it = replicas_.find(id);
  if (it == replicas_.end()) return false;
  Replica& replica = it->second;
  if (replica.helps != kNowhere) return false;
  // What has guarantees runs alone, as they were promised, and nobody waits for it any more.
  const bool alone = replica.spec.gang < 0 || !replica.timeline.empty();
  if (replica.spec.gang >= 0 && alone) DispatchGang(replica.spec.gang, commands);
  if (static_cast<int>(replica.plans.size()) >= replica.spec.plans_in_flight_max) return false;
  // Until the answer nobody knows from where its jobs go on.
  if (!replica.plans.empty() && replica.plans.back().revoking) return false;
  if (Broken(Rule::kWorkConserving) && now_ns_ % 7 == 0) return false;
  if (DispatchMedia(id, replica, commands)) return true;
  if (!alone) {
    DispatchGang(replica.spec.gang, commands);
    return false;
  }

  const int64_t start_ns = replica.BusyUntil(now_ns_, 1.0);
  Gather(id, replica, start_ns);
  if (candidates_.empty()) return false;
  // What others may take of the replica before it must turn to its guarantees.
  const double safety = 1.0 + cost_error_.Epsilon();
  const int64_t room_ns = replica.timeline.Room(replica.BusyUntil(now_ns_, safety));
  const int64_t limit_ns = room_ns == kUnlimited || Broken(Rule::kGuaranteedFirst)
                               ? kUnlimited
                               : static_cast<int64_t>(static_cast<double>(room_ns) / safety);
  bool from_reserve = false;
  const size_t head = ChooseHead(replica, from_reserve);
  if (head == candidates_.size()) return false;
  Batch batch = Pack(replica, head, limit_ns, false);
  const bool in_order = !from_reserve && batch.predicted_ns <= limit_ns;
  if (batch.predicted_ns > limit_ns) {
    batch = FirstGuaranteed(replica, room_ns, std::move(batch));
  }
  const auto place = PlaceOf(candidates_[head]);
  const int64_t reserve_ns = replica.reserve_ns;
  replica.reserve_ns +=
      static_cast<int64_t>(static_cast<double>(batch.predicted_ns) * config_.reserve_share);
  const Job* reserved = candidates_[head].job;
  if (from_reserve &&
      std::find(batch.jobs.begin(), batch.jobs.end(), reserved) != batch.jobs.end()) {
    replica.reserve_ns -= reserved->cost.stage_ns[static_cast<int>(batch.stage)] * batch.segments /
                          reserved->spec.segments;
  }
  SendPlan(id, replica, batch, commands);
  replica.plans.back().reserve_ns = replica.reserve_ns - reserve_ns;
  if (in_order) replica.plans.back().head = place;
  return true;
}

bool Scheduler::DispatchMedia(ReplicaId id, Replica& replica, std::vector<Command>& commands) {
  if (!Serves(replica.spec, Stage::kMediaEncode)) return false;
  const auto it = groups_.find(GroupKey{.media = true});
  if (it == groups_.end()) return false;
  // One picture a plan: each is encoded by one thread.
  Job* first = nullptr;
  for (int rank = 0; rank < kLanes && first == nullptr; ++rank) {
    it->second.queue.Visit(LaneOfRank(rank), [&](JobId job) {
      first = &jobs_.at(job);
      return false;
    });
  }
  if (first == nullptr) return false;
  Batch batch{.stage = Stage::kMediaEncode};
  batch.jobs.push_back(first);
  batch.tokens = Tokens(first->spec, Stage::kMediaEncode);
  batch.predicted_ns = CostOf(replica, first->spec.model).Predict(batch.stage, batch.tokens);
  SendPlan(id, replica, batch, commands);
  return true;
}

// ---- candidates ----

void Scheduler::Gather(ReplicaId id, Replica& replica, int64_t start_ns) {
  candidates_.clear();
  for (const JobId resident : replica.residents) {
    Job& job = jobs_.at(resident);
    // Past its last stage here it only waits for its plan to come back.
    if (job.next.stage == Stage::kMediaEncode || !Serves(replica.spec, job.next.stage)) continue;
    if (!HasWeights(id, job)) continue;
    AddCandidate(job, OrderKey(job), start_ns, SafeNanosLeft(job));
  }
  for (const Timeline::Entry& entry : replica.timeline.entries()) {
    Job& job = jobs_.at(entry.job);
    if (job.replica != kNowhere || job.spec.held) continue;
    AddCandidate(job, OrderKey(job), start_ns, SafeNanosLeft(job));
  }
  slots_free_ = static_cast<int>(replica.free_slots.size()) - replica.to_open;
  const int looks = LooksPerQueue(replica);
  for (const GroupKey& key : replica.groups) {
    if (key.media || slots_free_ <= 0) continue;
    slots_taken_.clear();
    Group& group = groups_[key];
    // Guarantees are promised on quanta alone, so what has some takes nobody over.
    if (replica.spec.moves && replica.timeline.empty()) {
      const auto started = group.started.find(Broken(Rule::kMoveBits) ? 0 : replica.spec.numerics);
      if (started != group.started.end()) {
        GatherWaiting(id, replica, started->second, looks, start_ns);
      }
    }
    GatherWaiting(id, replica, group.queue, looks, start_ns);
  }
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return PlaceOf(a) < PlaceOf(b); });
}

int Scheduler::LooksPerQueue(const Replica& replica) const {
  // Of many queues a part of each is looked at, and of each the first.
  int queues = 0;
  for (const GroupKey& key : replica.groups) {
    if (replica.groups.size() <= kQueuesInFull || !groups_.at(key).queue.empty()) ++queues;
  }
  return kCandidatesMax * kQueuesInFull / std::max(queues, kQueuesInFull);
}

void Scheduler::GatherWaiting(ReplicaId id, const Replica& replica, const WaitQueue& queue,
                              int looks, int64_t start_ns) {
  if (queue.empty()) return;
  // Each queue may use what the others left and no more than there was.
  int free = slots_free_;
  int looked_at = 0;
  int64_t tokens_left = kCandidateBatches * replica.spec.step_tokens_max;
  const auto visit = [&](JobId waiting) {
    if (free <= 0 || ++looked_at > looks) return false;
    if (tokens_left <= 0 && looked_at > 1) return false;
    Job& job = jobs_.at(waiting);
    if (job.replica == id) return true;  // it is among the candidates already
    const bool started = job.replica != kNowhere;
    // What it began elsewhere goes on only where the bits are the same.
    if (!started && job.numerics != 0 && job.numerics != replica.spec.numerics) return true;
    if (!Serves(replica.spec, job.next.stage)) return true;
    int& taken = slots_taken_[job.spec.tenant];
    if (taken >= SlotsLeft(replica, job.spec.tenant, started)) return true;
    ++taken;
    --free;
    AddCandidate(job, job.wait_key, start_ns, SafeNanosLeft(job));
    candidates_.back().takes_slot = true;
    tokens_left -= Tokens(job.spec, Stage::kDenoise);
    return true;
  };
  for (int rank = 0; rank < kLanes; ++rank) queue.Visit(LaneOfRank(rank), visit);
  // The oldest late job has a claim of its own, wherever it stands in the order.
  const JobId oldest = queue.OldestLateProtected().second;
  if (oldest == 0 || free <= 0) return;
  const bool there = std::any_of(candidates_.begin(), candidates_.end(),
                                 [&](const Candidate& c) { return c.job->spec.id == oldest; });
  looked_at = 0;  // whatever was seen before it
  if (!there) visit(oldest);
}

void Scheduler::AddCandidate(Job& job, int64_t key, int64_t start_ns, int64_t soonest_ns) {
  Candidate candidate;
  candidate.job = &job;
  candidate.key = key;
  candidate.late = soonest_ns > job.spec.deadline_ns - start_ns;
  candidate.is_protected = fair_.Protected(job.spec.tenant);
  candidate.rank = RankOf(candidate.late, candidate.is_protected);
  candidate.step_ns_max = kUnlimited;
  const double steps = StepsLeft(job);
  if (!candidate.late && steps > 0 && !Broken(Rule::kMemberDeadlines)) {
    const auto room_ns =
        static_cast<double>(job.spec.deadline_ns - start_ns) / (1.0 + job.epsilon) -
        static_cast<double>(OtherNanosLeft(job));
    candidate.step_ns_max = static_cast<int64_t>(room_ns / steps);
  }
  candidates_.push_back(candidate);
}

bool Scheduler::MayHead(const Replica& replica, const Candidate& candidate) const {
  // One batch may be parked inside a step; while it is, others run only whole steps that fit into
  // one quantum.
  const Job& job = *candidate.job;
  if (job.next.stage != Stage::kDenoise || job.next.segment > 0) return true;
  if (job.spec.segments == 1 || !AnyParked()) return true;
  const int64_t step_ns = CostOf(replica.spec.hardware, job.spec.model)
                              .Predict(Stage::kDenoise, Tokens(job.spec, Stage::kDenoise));
  return replica.spec.quantum_ns_max == 0 || step_ns <= replica.spec.quantum_ns_max;
}

bool Scheduler::AnyParked() const {
  return std::any_of(candidates_.begin(), candidates_.end(),
                     [](const Candidate& c) { return c.job->next.segment > 0; });
}

size_t Scheduler::ChooseHead(Replica& replica, bool& from_reserve) const {
  size_t head = candidates_.size();
  size_t oldest = candidates_.size();
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    if (!MayHead(replica, candidate)) continue;
    if (head == candidates_.size()) head = i;
    if (candidate.late && candidate.is_protected &&
        (oldest == candidates_.size() ||
         candidate.job->arrival < candidates_[oldest].job->arrival)) {
      oldest = i;
    }
  }
  if (oldest == candidates_.size()) {
    // Nobody is owed anything; time that was not needed is not kept for later.
    replica.reserve_ns = 0;
    return head;
  }
  const Job& late = *candidates_[oldest].job;
  const int64_t needed_ns = late.cost.stage_ns[static_cast<int>(late.next.stage)];
  replica.reserve_ns = std::min(replica.reserve_ns, 2 * needed_ns);
  if (replica.reserve_ns < needed_ns || Broken(Rule::kReserve)) return head;
  from_reserve = true;
  return oldest;
}

// ---- batches ----

Scheduler::Batch Scheduler::Pack(const Replica& replica, size_t head, int64_t limit_ns,
                                 bool same_stage, int32_t degree) const {
  const Candidate& first = candidates_[head];
  const CostTable& cost = *CostAt(replica.spec.hardware, first.job->spec.model, degree);
  Batch batch;
  batch.degree = degree;
  batch.jobs.push_back(first.job);
  if (first.job->spec.adapter != 0) batch.adapters.push_back(first.job->spec.adapter);
  if (first.job->next.stage > Stage::kDenoise) {
    batch.stage = first.job->next.stage;
    batch.tokens = Tokens(first.job->spec, batch.stage);
    batch.predicted_ns = cost.Predict(batch.stage, batch.tokens);
    return batch;
  }
  // Jobs that have to be encoded first are packed as if they denoised already, because that is what
  // they come for.
  batch.tokens = Tokens(first.job->spec, Stage::kDenoise);
  batch.exclusive = first.job->spec.isolation != Isolation::kShared;
  int64_t slowest_ns = first.step_ns_max;
  int slots_free = slots_free_ - (first.takes_slot ? 1 : 0);
  // A step that is cut into segments is cut to the limit; any other must fit under it whole.
  if (first.job->spec.segments == 1) slowest_ns = std::min(slowest_ns, limit_ns);
  // Beside a parked batch only what reaches its step's end within a quantum, all together.
  if (first.job->spec.segments > 1 && first.job->next.segment == 0 && AnyParked() &&
      replica.spec.quantum_ns_max > 0) {
    slowest_ns = std::min(slowest_ns, replica.spec.quantum_ns_max);
  }
  bool skipped_protected = false;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    if (i == head || static_cast<int>(batch.jobs.size()) >= kPlanJobsMax) continue;
    if (candidate.takes_slot && slots_free == 0) continue;
    if (!MayJoin(batch, *candidate.job, replica, same_stage)) continue;
    // Where shares come first, room that is too small for the protected is not for the others.
    if (config_.priority == Priority::kStrict && skipped_protected && !candidate.is_protected) {
      continue;
    }
    const int64_t tokens = batch.tokens + Tokens(candidate.job->spec, Stage::kDenoise);
    const int64_t step_ns_max = std::min(slowest_ns, candidate.step_ns_max);
    const bool brings = Brings(batch.adapters, candidate.job->spec.adapter);
    if (tokens > replica.spec.step_tokens_max ||
        cost.Predict(Stage::kDenoise, tokens, batch.adapters.size() + (brings ? 1 : 0)) >
            step_ns_max) {
      skipped_protected = skipped_protected || candidate.is_protected;
      continue;
    }
    batch.mixed = batch.mixed || candidate.job->spec.tenant != first.job->spec.tenant;
    batch.exclusive = batch.exclusive || candidate.job->spec.isolation != Isolation::kShared;
    batch.jobs.push_back(candidate.job);
    if (brings) batch.adapters.push_back(candidate.job->spec.adapter);
    slots_free -= candidate.takes_slot ? 1 : 0;
    batch.tokens = tokens;
    slowest_ns = step_ns_max;
  }
  NarrowToStage(replica, limit_ns, batch);
  return batch;
}

bool Scheduler::MayJoin(const Batch& batch, const Job& job, const Replica& replica,
                        bool same_stage) const {
  const Job& first = *batch.jobs.front();
  if (job.next.stage > Stage::kDenoise) return false;
  if (same_stage && job.next.stage != first.next.stage) return false;
  if (job.spec.model != first.spec.model || job.spec.segments != first.spec.segments ||
      job.next.segment != first.next.segment) {
    return false;
  }
  // A job that was there when a worker died runs alone until it is past that point.
  if (first.crashes > 0 || job.crashes > 0) return false;
  const bool mixed = batch.mixed || job.spec.tenant != first.spec.tenant;
  const bool exclusive = batch.exclusive || job.spec.isolation != Isolation::kShared;
  if (mixed && exclusive && !Broken(Rule::kIsolation)) return false;
  return !Brings(batch.adapters, job.spec.adapter) ||
         static_cast<int>(batch.adapters.size()) < replica.spec.adapters_max;
}

void Scheduler::NarrowToStage(const Replica& replica, int64_t limit_ns, Batch& batch) const {
  Stage stage = Stage::kDenoise;
  for (const Job* job : batch.jobs) stage = std::min(stage, job->next.stage);
  batch.stage = stage;
  const CostTable& cost =
      *CostAt(replica.spec.hardware, batch.jobs.front()->spec.model, batch.degree);
  if (stage != Stage::kDenoise) {
    std::erase_if(batch.jobs, [stage](const Job* job) { return job->next.stage != stage; });
    const size_t jobs_max = OneByOne(stage) ? 1 : kEncodeJobsMax;
    if (batch.jobs.size() > jobs_max) batch.jobs.resize(jobs_max);
    batch.tokens = 0;
    for (const Job* job : batch.jobs) batch.tokens += Tokens(job->spec, stage);
    batch.predicted_ns = cost.Predict(stage, batch.tokens);
    return;
  }
  batch.predicted_ns = cost.Predict(stage, batch.tokens, batch.adapters.size());
  const JobSpec& spec = batch.jobs.front()->spec;
  const int32_t left = spec.segments - batch.jobs.front()->next.segment;
  batch.segments = left;
  // One batch at most is parked: what begins beside it runs whole, if no guarantee asks for less.
  const bool beside = left == spec.segments && limit_ns == kUnlimited && AnyParked();
  if (spec.segments == 1 || beside) return;
  const int64_t segment_ns = std::max<int64_t>(1, batch.predicted_ns / spec.segments);
  int64_t quantum_ns = limit_ns;
  if (replica.spec.quantum_ns_max > 0) {
    quantum_ns = std::min(quantum_ns, replica.spec.quantum_ns_max);
  }
  const auto fit = static_cast<int32_t>(std::clamp<int64_t>(quantum_ns / segment_ns, 1, left));
  // In parts of equal length: a short last one would be a decision more and no quantum less.
  const int32_t parts = (left + fit - 1) / fit;
  batch.segments = (left + parts - 1) / parts;
  batch.predicted_ns = batch.segments * segment_ns;
}

Scheduler::Batch Scheduler::FirstGuaranteed(const Replica& replica, int64_t room_ns,
                                            Batch otherwise) const {
  for (const Timeline::Entry& entry : replica.timeline.entries()) {
    const auto it = std::find_if(candidates_.begin(), candidates_.end(),
                                 [&](const Candidate& c) { return c.job->spec.id == entry.job; });
    if (it == candidates_.end()) continue;  // all that is left of it is under way
    const auto head = static_cast<size_t>(it - candidates_.begin());
    // Its own quantum is part of what is promised, so that much more than the room may pass.
    const Job& job = *it->job;
    const double factor = 1.0 + job.epsilon;
    const auto step_ns = static_cast<double>(job.cost.stage_ns[static_cast<int>(job.next.stage)]);
    const auto limit = [&](int32_t segments) {
      const double own_ns = step_ns * segments / job.spec.segments;
      return std::max<int64_t>(
          0, static_cast<int64_t>(static_cast<double>(room_ns) / factor + own_ns));
    };
    const bool in_step = job.next.stage == Stage::kDenoise;
    const int32_t left = job.spec.segments - (in_step ? job.next.segment : 0);
    Batch batch = Pack(replica, head, limit(left), true);
    const bool holds_it =
        std::find(batch.jobs.begin(), batch.jobs.end(), it->job) != batch.jobs.end();
    // A quantum that is cut short has less of its own in it.
    if (holds_it && batch.predicted_ns <= limit(in_step ? batch.segments : left)) return batch;
    batch = Batch{};
    batch.jobs.push_back(it->job);
    if (job.spec.adapter != 0) batch.adapters.push_back(job.spec.adapter);
    batch.stage = job.next.stage;
    batch.tokens = Tokens(job.spec, batch.stage);
    batch.predicted_ns =
        CostOf(replica.spec.hardware, job.spec.model).Predict(batch.stage, batch.tokens);
    if (batch.stage == Stage::kDenoise) NarrowToStage(replica, kUnlimited, batch);
    return batch;
  }
  return otherwise;
}

void Scheduler::SendPlan(ReplicaId id, Replica& replica, const Batch& batch,
                         std::vector<Command>& commands) {
  SetHungry(id, replica, false);
  const JobSpec& first = batch.jobs.front()->spec;
  const bool denoise = batch.stage == Stage::kDenoise;
  Plan plan{.sequence = ++replica.last_sequence, .stage = batch.stage};
  plan.segments = denoise ? batch.segments : 1;
  plan.segments_of_step = denoise ? first.segments : 1;
  plan.predicted_ns = batch.predicted_ns;
  RunPlan command{id, plan.sequence, batch.stage, batch.predicted_ns + Impurity()};
  if (denoise) {
    command.segment_begin = batch.jobs.front()->next.segment;
    command.segment_end = command.segment_begin + batch.segments;
  }
  const CostTable& cost = CostOf(replica, first.model);
  plan.adapters = denoise ? static_cast<int>(batch.adapters.size()) : 0;
  for (Job* job : batch.jobs) {
    if (batch.stage == Stage::kMediaEncode) {
      Dequeue(*job);
    } else if (job->replica != id) {
      if (job->replica != kNowhere) plan.move_ns += replica.spec.move_ns;
      TakeSlot(id, replica, *job, commands);
    } else if (job->waits) {
      Dequeue(*job);
    }
    const int64_t tokens = Tokens(job->spec, batch.stage);
    plan.tokens += tokens;
    const int64_t solo_ns = cost.Predict(batch.stage, tokens, job->spec.adapter == 0 ? 0 : 1) *
                            plan.segments / plan.segments_of_step;
    plan.items.push_back({job->spec.id, job->spec.tenant, job->next, tokens, tokens, solo_ns, 0});
    const bool ends_step = denoise && command.segment_end == first.segments;
    const bool checkpoint = ends_step && job->next.step + 1 < job->spec.steps &&
                            (job->next.step + 1) % checkpoint_steps_ == 0;
    command.items.push_back({job->spec.id, job->slot, job->epoch, job->next.step, checkpoint});
    ++job->in_flight;
    bool done = false;
    job->next = After(job->next, job->spec, plan.segments, done);
    if (Broken(Rule::kOwnSequence) && denoise && job->next.step == 3) ++job->next.step;
    if (job->placed_on == id) replica.timeline.SetLeft(job->spec.id, SafeNanosLeft(*job));
  }
  if (!batch.helpers.empty()) Lend(id, batch, plan, command);
  plan.billed_ns = batch.helpers.empty() ? batch.predicted_ns : batch.billed_ns;
  if (plan.adapters > 0) WeighAdapters(cost.adapter_ns(), batch.jobs, plan);
  std::vector<int64_t> weights;
  for (const PlanItem& item : plan.items) weights.push_back(item.weight);
  // What is predicted for a gang's jobs is split as what they will be charged, or the difference
  // would count as the cost model's error.
  const std::vector<int64_t> shares =
      plan.helpers.empty() ? SplitExactly(plan.billed_ns, weights)
                           : SplitCapped(plan.billed_ns, weights, plan.Caps(plan.predicted_ns));
  for (size_t i = 0; i < plan.items.size(); ++i) {
    plan.items[i].predicted_share_ns = shares[i];
    fair_.Charge(plan.items[i].tenant, shares[i]);
  }
  MoveProtected();
  if (replica.plans.empty()) replica.front_since_ns = now_ns_;
  replica.plans.push_back(std::move(plan));
  SetHungry(id, replica, true);
  commands.push_back(std::move(command));
}

}  // namespace darkroom::scheduler
