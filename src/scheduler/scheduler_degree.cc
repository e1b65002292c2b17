// How many accelerators of a gang a job's next quantum has, and which.

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "scheduler/limits.h"
#include "scheduler/mutation.h"
#include "scheduler/scheduler.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

bool Alike(const ReplicaSpec& a, const ReplicaSpec& b) {
  return a.hardware == b.hardware && a.stages == b.stages && a.models == b.models &&
         a.numerics == b.numerics && a.dedicated_to == b.dedicated_to && a.moves == b.moves;
}

// The largest block around a rank of which all may be used, at least 1.
int32_t WidestAround(const std::vector<RankState>& ranks, int32_t rank) {
  const auto size = static_cast<int32_t>(ranks.size());
  int32_t widest = 1;
  for (int32_t degree = 2; degree <= size; degree *= 2) {
    const int32_t begin = rank / degree * degree;
    if (begin + degree > size ||
        std::any_of(ranks.begin() + begin, ranks.begin() + begin + degree,
                    [](RankState state) { return state == RankState::kAbsent; })) {
      break;
    }
    widest = degree;
  }
  return widest;
}

}  // namespace

// ---- members ----

bool Scheduler::JoinGang(ReplicaId id, Replica& replica) {
  Gang& gang = gangs_[replica.spec.gang];
  const auto rank = static_cast<size_t>(replica.spec.gang_rank);
  if (gang.members.size() <= rank) gang.members.resize(rank + 1, kNowhere);
  const auto other = std::find_if(gang.members.begin(), gang.members.end(),
                                  [](ReplicaId member) { return member != kNowhere; });
  const bool fits = other == gang.members.end() || Alike(replicas_.at(*other).spec, replica.spec);
  if (gang.members[rank] != kNowhere || !fits) {
    replica.spec.gang = -1;
    return false;
  }
  gang.members[rank] = id;
  // It decides at every quantum's end, and a step runs whole: between its pieces it cannot change
  // its degree.
  replica.spec.plans_in_flight_max = 1;
  gang.quantum_ns_max = std::exchange(replica.spec.quantum_ns_max, 0);
  gang.hardware = replica.spec.hardware;
  const size_t offered = degree_costs_.size();
  for (const DegreeCost& degree : replica.spec.degrees) {
    if (degree.degree > static_cast<int32_t>(gang.members.size())) continue;
    for (const ModelId model : replica.spec.models) {
      degree_costs_.try_emplace({replica.spec.hardware, model, degree.degree}, degree.cost,
                                degree.learned, replica.spec.adapter_ns);
    }
  }
  return degree_costs_.size() > offered;
}

void Scheduler::LeaveGang(ReplicaId id, Replica& replica, std::vector<Command>& commands) {
  Gang& gang = gangs_.at(replica.spec.gang);
  gang.members[static_cast<size_t>(replica.spec.gang_rank)] = kNowhere;
  for (const Plan& plan : replica.plans) FreeHelpers(plan);
  const auto first = replicas_.find(std::exchange(replica.helps, kNowhere));
  if (first == replicas_.end()) return;
  // The others of the gang cannot end this quantum: its jobs go back to their checkpoints.
  SetHungry(first->first, first->second, false);
  const Plan plan = std::move(first->second.plans.front());
  first->second.plans.pop_front();
  SetHungry(first->first, first->second, true);
  FreeHelpers(plan);
  touched_replicas_.insert(first->first);
  for (const PlanItem& item : plan.items) fair_.Charge(item.tenant, -item.predicted_share_ns);
  MoveProtected();
  for (const PlanItem& item : plan.items) {
    const auto job = jobs_.find(item.job);
    if (job == jobs_.end()) continue;
    Suspect(job->second, item.at);
    LeaveSlot(job->second, commands);
    Requeue(job->second, commands);
  }
}

void Scheduler::FreeHelpers(const Plan& plan) {
  for (const ReplicaId id : plan.helpers) {
    const auto helper = replicas_.find(id);
    if (helper == replicas_.end()) continue;
    helper->second.helps = kNowhere;
    touched_replicas_.insert(id);
  }
}

void Scheduler::Lend(ReplicaId id, const Batch& batch, Plan& plan, RunPlan& command) {
  plan.helpers = batch.helpers;
  plan.first_pays = batch.first_pays;
  command.helpers = batch.helpers;
  for (const ReplicaId helper_id : batch.helpers) {
    Replica& helper = replicas_.at(helper_id);
    helper.helps = id;
    helper.helps_since_ns = now_ns_;
    helper.helps_ns = plan.move_ns + plan.predicted_ns;
  }
}

// ---- what a gang's jobs ask for ----

void Scheduler::GatherGang(const Gang& gang) {
  candidates_.clear();
  const Replica* any = nullptr;
  for (const ReplicaId id : gang.members) {
    if (id == kNowhere) continue;
    const Replica& replica = replicas_.at(id);
    any = &replica;
    if (!replica.timeline.empty()) continue;
    if (!replica.plans.empty()) {
      // Its company is asked for anew at the quantum's end.
      const auto first = jobs_.find(replica.plans.front().items.front().job);
      const int64_t ends_ns = replica.BusyUntil(now_ns_, 1.0);
      if (first != jobs_.end() && first->second.replica == id &&
          first->second.next.stage != Stage::kMediaEncode) {
        Job& job = first->second;
        AddCandidate(job, OrderKey(job), ends_ns, SoonestNanosLeft(job));
      }
    }
    for (const JobId resident : replica.residents) {
      Job& job = jobs_.at(resident);
      // Those that may move are in a queue, in order.
      if (job.in_flight > 0 || job.waits || job.next.stage == Stage::kMediaEncode) continue;
      AddCandidate(job, OrderKey(job), now_ns_, SoonestNanosLeft(job));
    }
  }
  if (any == nullptr) return;
  slots_taken_.clear();
  const NumericsKey bits = Broken(Rule::kMoveBits) ? 0 : any->spec.numerics;
  const int looks = LooksPerQueue(*any);
  for (const GroupKey& key : any->groups) {
    if (key.media) continue;
    Group& group = groups_[key];
    if (const auto started = group.started.find(bits); started != group.started.end()) {
      GatherGangQueue(any->spec.gang, started->second, looks);
    }
    GatherGangQueue(any->spec.gang, group.queue, looks);
  }
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return PlaceOf(a) < PlaceOf(b); });
}

void Scheduler::GatherGangQueue(int64_t id, const WaitQueue& queue, int looks) {
  const Gang& gang = gangs_.at(id);
  const Replica& any = replicas_.at(*std::find_if(gang.members.begin(), gang.members.end(),
                                                  [](ReplicaId member) { return member >= 0; }));
  int looked_at = 0;
  const auto visit = [&](JobId waiting) {
    if (++looked_at > looks) return false;
    Job& job = jobs_.at(waiting);
    const bool started = job.replica != kNowhere;
    const bool other_bits = job.numerics != 0 && job.numerics != any.spec.numerics;
    if ((!started && other_bits) || (any.spec.stages & StageBit(job.next.stage)) == 0) return true;
    // What has guarantees takes nobody over, and lets go.
    if (started && !any.spec.moves) return true;
    const Tenant& tenant = tenants_.find(job.spec.tenant)->second;
    if (!started && tenant.limits.running_max > 0 &&
        tenant.running + slots_taken_[job.spec.tenant]++ >= tenant.limits.running_max) {
      return true;
    }
    AddCandidate(job, job.wait_key, now_ns_, SoonestNanosLeft(job));
    return true;
  };
  for (int rank = 0; rank < kLanes; ++rank) queue.Visit(LaneOfRank(rank), visit);
  const JobId oldest = queue.OldestLateProtected().second;
  const bool there = std::any_of(candidates_.begin(), candidates_.end(),
                                 [&](const Candidate& c) { return c.job->spec.id == oldest; });
  looked_at = 0;  // whatever was seen before it
  if (oldest != 0 && !there) visit(oldest);
}

int64_t Scheduler::FastestStep(const Job& job, int64_t hardware, int64_t alone_ns) const {
  const JobSpec& spec = job.spec;
  if (spec.segments > 1 || degree_costs_.empty()) return alone_ns;
  const auto group = groups_.find(GroupOf(job));
  if (group == groups_.end() || group->second.gang_replicas == 0) return alone_ns;
  int64_t least_ns = alone_ns;
  const int64_t tokens = Tokens(spec, Stage::kDenoise);
  const size_t adapters = spec.adapter == 0 ? 0 : 1;
  for (auto it = degree_costs_.lower_bound({hardware, spec.model, 0});
       it != degree_costs_.end() && std::get<0>(it->first) == hardware &&
       std::get<1>(it->first) == spec.model;
       ++it) {
    least_ns = std::min(least_ns, it->second.Predict(Stage::kDenoise, tokens, adapters));
  }
  return least_ns;
}

Scheduler::DegreeTables Scheduler::TablesOf(uint32_t hardware, ModelId model,
                                            int32_t widest) const {
  DegreeTables tables{};
  for (size_t i = 0; (1 << i) <= widest; ++i) tables[i] = CostAt(hardware, model, 1 << i);
  return tables;
}

GangAsk Scheduler::AskOf(int64_t id, const Gang& gang, const DegreeTables& tables,
                         const Candidate& candidate) const {
  const Job& job = *candidate.job;
  GangAsk ask;
  ask.runs = job.in_flight > 0;
  ask.steps_left = StepsLeft(job);
  ask.moves = job.replica == kNowhere || job.waits || ask.runs;
  const auto home = replicas_.find(job.replica);
  const bool here = home != replicas_.end() && home->second.spec.gang == id;
  if (here) ask.at = home->second.spec.gang_rank;
  const int64_t tokens = Tokens(job.spec, Stage::kDenoise);
  const size_t adapters = job.spec.adapter == 0 ? 0 : 1;
  ask.step_ns[0] = tables[0]->Predict(Stage::kDenoise, tokens, adapters);
  if (job.next.stage != Stage::kDenoise || job.spec.segments > 1) return ask;
  const int64_t left_ns = job.spec.deadline_ns - now_ns_;
  const auto is_short = [&](int64_t step_ns) {
    return gang.quantum_ns_max == 0 || step_ns <= gang.quantum_ns_max;
  };
  bool in_time = candidate.late || SafeNanosLeftAt(job, ask.step_ns[0]) <= left_ns;
  bool in_quantum = is_short(ask.step_ns[0]);
  int32_t fastest = 1;
  int64_t least_ns = ask.step_ns[0];
  for (size_t i = 1; i < tables.size(); ++i) {
    if (tables[i] == nullptr) continue;
    const int32_t degree = 1 << i;
    const int64_t step_ns = tables[i]->Predict(Stage::kDenoise, tokens, adapters);
    ask.step_ns[i] = step_ns;
    if (step_ns < least_ns) fastest = degree;
    least_ns = std::min(least_ns, step_ns);
    if (!in_quantum && is_short(step_ns)) {
      in_quantum = true;
      ask.least = degree;
    }
    if (in_time || SafeNanosLeftAt(job, step_ns) > left_ns) continue;
    in_time = true;
    ask.need = degree;
  }
  if (!in_quantum) ask.least = fastest;
  if (!in_time) ask.need = fastest;
  ask.asked = ask.need;
  if (Broken(Rule::kGangSmallest)) ask.need = fastest;
  ask.need = std::max(ask.need, ask.least);
  return ask;
}

// Shortest first would take from a wide job that is almost done what it still needs, for one that
// has time to let it end.
void Scheduler::LetOthersPass(std::vector<GangAsk>& asks) {
  const auto time_ns = [](const GangAsk& ask, int32_t degree) {
    return static_cast<int64_t>(
        ask.steps_left *
        static_cast<double>(ask.step_ns[static_cast<size_t>(DegreeIndex(degree))]));
  };
  const auto slack_ns = [&](size_t i) {
    const Job& job = *candidates_[i].job;
    return job.spec.deadline_ns - now_ns_ - SoonestNanosLeft(job);
  };
  for (size_t wide = 1; wide < asks.size(); ++wide) {
    if (asks[wide].need < 2 || candidates_[wide].late) continue;
    if (asks[wide].step_ns[static_cast<size_t>(DegreeIndex(asks[wide].need)) - 1] == 0) continue;
    const int32_t need = asks[wide].need;
    const int64_t wide_ns = time_ns(asks[wide], need);
    const int64_t narrow_ns = time_ns(asks[wide], need / 2);
    // Who is before it and may wait for it goes behind it.
    size_t to = wide;
    for (size_t i = wide; i-- > 0;) {
      if (candidates_[i].rank != candidates_[to].rank) break;
      // While that one runs, half as many are left for the wide one, or fewer.
      const auto beside_ns =
          static_cast<double>(std::min(time_ns(asks[i], asks[i].need), narrow_ns));
      const double lost_ns =
          beside_ns * (1.0 - static_cast<double>(wide_ns) / static_cast<double>(narrow_ns));
      if (lost_ns <= static_cast<double>(slack_ns(to)) || slack_ns(i) < wide_ns) continue;
      std::rotate(asks.begin() + static_cast<long>(i), asks.begin() + static_cast<long>(i) + 1,
                  asks.begin() + static_cast<long>(to) + 1);
      std::rotate(candidates_.begin() + static_cast<long>(i),
                  candidates_.begin() + static_cast<long>(i) + 1,
                  candidates_.begin() + static_cast<long>(to) + 1);
      --to;
    }
  }
}

JobId Scheduler::PutReservedFirst(const Gang& gang) {
  auto oldest = candidates_.end();
  for (auto it = candidates_.begin(); it != candidates_.end(); ++it) {
    if (!it->late || !it->is_protected || it->job->in_flight > 0) continue;
    if (oldest == candidates_.end() || it->job->arrival < oldest->job->arrival) oldest = it;
  }
  const int64_t needed_ns =
      oldest == candidates_.end()
          ? 0
          : oldest->job->cost.stage_ns[static_cast<int>(oldest->job->next.stage)];
  bool pays = false;
  for (const ReplicaId id : gang.members) {
    if (id == kNowhere) continue;
    Replica& replica = replicas_.at(id);
    // Nobody is owed anything: time that was not needed is not kept for later.
    replica.reserve_ns = std::min(replica.reserve_ns, 2 * needed_ns);
    pays = pays || (replica.Idle() && replica.reserve_ns >= needed_ns);
  }
  if (oldest == candidates_.end() || !pays || Broken(Rule::kReserve)) return 0;
  std::rotate(candidates_.begin(), oldest, oldest + 1);
  return candidates_.front().job->spec.id;
}

// ---- who gets what ----

bool Scheduler::IdleBlock(const Gang& gang, const GangBlock& block) const {
  if (Broken(Rule::kGangIdle)) return true;
  for (int32_t rank = block.begin; rank < block.begin + block.degree; ++rank) {
    const ReplicaId id = gang.members[static_cast<size_t>(rank)];
    if (id != kNowhere && !replicas_.at(id).Idle()) return false;
  }
  return true;
}

GangBlock Scheduler::PartNow(const Gang& gang, const GangAsk& ask, const GangBlock& block) const {
  const auto size = static_cast<int32_t>(gang.members.size());
  if (Broken(Rule::kGangBound) && !IdleBlock(gang, {0, size})) return {};
  GangBlock part;
  for (int32_t degree = block.degree; degree >= ask.least && part.degree == 0; degree /= 2) {
    if (ask.step_ns[static_cast<size_t>(DegreeIndex(degree))] == 0) continue;
    for (int32_t begin = block.begin; begin < block.begin + block.degree; begin += degree) {
      const GangBlock inner{begin, degree};
      const bool here = ask.at >= 0 && inner.Holds(ask.at);
      if (!IdleBlock(gang, inner) || (!here && !ask.moves)) continue;
      if (part.degree == 0 || here) part = inner;
    }
  }
  const int32_t wanted = std::min(ask.need, block.degree);
  if (part.degree >= wanted) return part;
  if (part.degree == 0) return {};
  // Making do with less for a step may cost less than waiting for the rest.
  const int64_t slower_ns = ask.step_ns[static_cast<size_t>(DegreeIndex(part.degree))] -
                            ask.step_ns[static_cast<size_t>(DegreeIndex(wanted))];
  return slower_ns <= ReadyNanos(gang, block) - now_ns_ ? part : GangBlock{};
}

int64_t Scheduler::ReadyNanos(const Gang& gang, const GangBlock& block) const {
  int64_t ready_ns = now_ns_;
  for (int32_t rank = block.begin; rank < block.begin + block.degree; ++rank) {
    const Replica& replica = replicas_.at(gang.members[static_cast<size_t>(rank)]);
    ready_ns = std::max(ready_ns, replica.BusyUntil(now_ns_, 1.0));
  }
  return ready_ns;
}

void Scheduler::Hold(const Gang& gang, const std::vector<GangBlock>& forming) {
  int64_t ready_ns = 0;
  for (const GangBlock& block : forming) ready_ns = std::max(ready_ns, ReadyNanos(gang, block));
  for (const ReplicaId id : gang.members) {
    if (id == kNowhere) continue;
    Replica& replica = replicas_.at(id);
    // It began to wait when it was first asked to, whoever asks now.
    if (!replica.Idle() || replica.held_until_ns == 0) {
      replica.held_until_ns = replica.Idle() ? ready_ns : 0;
    }
    if (forming.empty()) replica.held_until_ns = 0;
  }
}

bool Scheduler::SendGang(const Gang& gang, const GangAsk& ask, const GangBlock& block,
                         Candidate head, std::vector<Candidate>& company,
                         std::vector<Command>& commands) {
  ReplicaId first = kNowhere;
  std::vector<ReplicaId> helpers;
  for (int32_t rank = block.begin; rank < block.begin + block.degree; ++rank) {
    const ReplicaId id = gang.members[static_cast<size_t>(rank)];
    helpers.push_back(id);
    const Replica& replica = replicas_.at(id);
    const bool room = static_cast<int>(replica.free_slots.size()) > replica.to_open &&
                      SlotsLeft(replica, head.job->spec.tenant, head.job->replica != kNowhere) > 0;
    if (head.job->replica == id || (first == kNowhere && room)) first = id;
  }
  if (first == kNowhere) return false;
  std::erase(helpers, first);
  Replica& replica = replicas_.at(first);
  slots_free_ = static_cast<int>(replica.free_slots.size()) - replica.to_open;
  head.takes_slot = head.job->replica != first;
  candidates_.assign(1, head);
  slots_taken_.clear();
  if (head.takes_slot) ++slots_taken_[head.job->spec.tenant];
  for (const Candidate& other : company) {
    candidates_.push_back(other);
    Candidate& candidate = candidates_.back();
    candidate.takes_slot = candidate.job->replica != first;
    if (!candidate.takes_slot) continue;
    const TenantId tenant = candidate.job->spec.tenant;
    const bool started = candidate.job->replica != kNowhere;
    const bool fixed = started && !candidate.job->waits;
    if (fixed || ++slots_taken_[tenant] > SlotsLeft(replica, tenant, started)) {
      candidates_.pop_back();
    }
  }
  Batch batch = Pack(replica, 0, kUnlimited, block.degree > 1, block.degree);
  std::erase_if(company, [&](const Candidate& candidate) {
    return std::find(batch.jobs.begin(), batch.jobs.end(), candidate.job) != batch.jobs.end();
  });
  batch.helpers = std::move(helpers);
  if (block.degree > 1) {
    // Beyond what its deadline asks for, nobody pays for what would have been idle.
    const int32_t asked = std::min(ask.asked, block.degree);
    const CostTable& table = *CostAt(replica.spec.hardware, head.job->spec.model, asked);
    batch.first_pays = asked > 1;
    batch.billed_ns =
        std::min(block.degree * batch.predicted_ns,
                 asked * table.Predict(Stage::kDenoise, batch.tokens, batch.adapters.size()));
  }
  const auto reserved_ns =
      static_cast<int64_t>(static_cast<double>(batch.predicted_ns) * config_.reserve_share);
  replica.reserve_ns += reserved_ns;
  for (const ReplicaId id : batch.helpers) replicas_.at(id).reserve_ns += reserved_ns;
  SendPlan(first, replica, batch, commands);
  return true;
}

bool Scheduler::ServeGang(const Gang& gang, JobId reserved, GangRound& round,
                          std::vector<Command>& commands) {
  const std::vector<GangBlock> blocks = AllotGang(round.ranks, round.asks);
  std::vector<Candidate> company;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].degree == 0 && round.order[i].job->in_flight == 0) {
      company.push_back(round.order[i]);
    }
  }
  round.somebody_waits = round.somebody_waits || !company.empty();
  bool left_over = false;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].degree == 0) continue;
    const GangAsk& ask = round.asks[i];
    const GangBlock part = ask.runs ? GangBlock{} : PartNow(gang, ask, blocks[i]);
    const Job& job = *round.order[i].job;
    const int64_t quantum_ns = job.cost.stage_ns[static_cast<int>(job.next.stage)];
    if (part.degree == 0) {
      round.forming.push_back(blocks[i]);
      round.somebody_waits = round.somebody_waits || !ask.runs;
      continue;
    }
    const bool sent = SendGang(gang, ask, part, round.order[i], company, commands);
    left_over = left_over || !sent || part.degree < blocks[i].degree;
    if (sent && job.spec.id == reserved && job.in_flight > 0) {
      // Where its company has to be encoded first, it is not in that plan.
      replicas_.at(job.replica).reserve_ns -= quantum_ns;
    }
  }
  if (!left_over || company.empty()) return false;
  for (size_t rank = 0; rank < round.ranks.size(); ++rank) {
    if (round.ranks[rank] == RankState::kAbsent) continue;
    const bool awaited = std::any_of(
        round.forming.begin(), round.forming.end(),
        [rank](const GangBlock& block) { return block.Holds(static_cast<int32_t>(rank)); });
    const bool idle = replicas_.at(gang.members[rank]).Idle();
    round.ranks[rank] = idle && !awaited ? RankState::kIdle : RankState::kAbsent;
  }
  size_t others = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].degree > 0 || round.order[i].job->in_flight > 0) continue;
    round.order[others] = round.order[i];
    round.asks[others++] = round.asks[i];
  }
  round.order.resize(others);
  round.asks.resize(others);
  return true;
}

void Scheduler::DispatchGang(int64_t id, std::vector<Command>& commands) {
  if (!settled_gangs_.insert(id).second) return;
  const Gang& gang = gangs_.at(id);
  std::vector<RankState> ranks;
  bool idle = false;
  bool expired = false;
  for (const ReplicaId member : gang.members) {
    RankState state = RankState::kAbsent;
    if (member != kNowhere) {
      const Replica& replica = replicas_.at(member);
      const bool alone = !replica.timeline.empty() && !Broken(Rule::kGuaranteedAlone);
      if (!alone) state = replica.Idle() ? RankState::kIdle : RankState::kBusy;
      expired = expired || (state == RankState::kIdle && replica.held_until_ns != 0 &&
                            replica.held_until_ns <= now_ns_);
    }
    idle = idle || state == RankState::kIdle;
    ranks.push_back(state);
  }
  if (!idle) return;
  const std::vector<RankState> usable = ranks;
  const int32_t widest = WidestBlock(ranks);
  GatherGang(gang);
  const JobId reserved = PutReservedFirst(gang);
  if (expired) {
    // What waited for others as long as it may goes to whoever can begin at once.
    std::replace(ranks.begin(), ranks.end(), RankState::kBusy, RankState::kAbsent);
    std::erase_if(candidates_, [](const Candidate& c) { return c.job->in_flight > 0; });
  }
  std::vector<GangAsk> asks;
  std::optional<ModelId> model;
  DegreeTables tables{};
  for (const Candidate& candidate : candidates_) {
    if (model != candidate.job->spec.model) {
      model = candidate.job->spec.model;
      tables = TablesOf(gang.hardware, *model, widest);
    }
    GangAsk& ask = asks.emplace_back(AskOf(id, gang, tables, candidate));
    if (!ask.moves) ask.least = std::min(ask.least, WidestAround(usable, ask.at));
  }
  LetOthersPass(asks);
  GangRound round{std::move(ranks), candidates_, std::move(asks), {}};
  // What is left over in the second round is of no use to anybody.
  if (ServeGang(gang, reserved, round, commands)) ServeGang(gang, reserved, round, commands);
  if (!round.somebody_waits) round.forming.clear();
  Hold(gang, round.forming);
}

}  // namespace darkroom::scheduler
