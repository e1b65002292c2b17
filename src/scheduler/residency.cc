#include "scheduler/residency.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "scheduler/limits.h"
#include "scheduler/mutation.h"

namespace darkroom::scheduler {
namespace {

// Demand counts half after so long: some minutes, since a base model takes half of one to load.
constexpr double kDemandHalfNs = 300e9;
// Others make room only for what is worth so many times as much: what is about equal does not take
// turns.
constexpr double kWorthMore = 1.5;
// Loads follow what they took by this share of each.
constexpr double kLoadRate = 0.2;

int64_t OwnerOf(const ReplicaSpec& spec) {
  return spec.dedicated_to ? int64_t{*spec.dedicated_to} : -1;
}

}  // namespace

// ---- what there is ----

bool Residency::Know(const WeightsKnown& known) {
  if (!catalog_.contains(known.weights) && catalog_.size() >= kWeightsKnownMax) return false;
  catalog_[known.weights] = {known.bytes, known.load_ns};
  return true;
}

void Residency::Attach(ReplicaId id, const ReplicaSpec& spec) {
  if (spec.weights_bytes == 0) return;
  Replica& replica = replicas_[id];
  replica.owner = OwnerOf(spec);
  replica.bytes = spec.weights_bytes;
  quiet_until_ns_ = 0;
  for (const ModelId model : spec.models) {
    const auto known = catalog_.find({model, 0});
    const int64_t bytes = known == catalog_.end() ? 0 : known->second.bytes;
    if (replica.entries.contains({model, 0})) continue;
    replica.entries[{model, 0}] = {State::kResident, bytes};
    replica.used += bytes;
    Demand& demand = demands_[{replica.owner, {model, 0}}];
    ++demand.copies;
    demand.wanted_since_ns = -1;
  }
}

void Residency::Detach(ReplicaId id, int64_t now_ns) {
  const auto it = replicas_.find(id);
  if (it == replicas_.end()) return;
  quiet_until_ns_ = 0;
  while (!it->second.entries.empty()) {
    Remove(it->second, id, it->second.entries.begin()->first, now_ns);
  }
  draining_.erase(id);
  replicas_.erase(it);
}

void Residency::Remove(Replica& replica, ReplicaId id, const WeightsId& weights, int64_t now_ns) {
  const auto it = replica.entries.find(weights);
  const Entry& entry = it->second;
  Demand& demand = demands_[{replica.owner, weights}];
  if (entry.state == State::kResident) --demand.copies;
  if (entry.state == State::kLoading) {
    --demand.loading;
    --replica.loads;
    due_.erase({entry.overdue_ns, id, weights});
  }
  replica.used -= entry.bytes;
  replica.entries.erase(it);
  if (demand.waiting > 0) Wait(demand, now_ns);
}

bool Residency::Resident(ReplicaId id, const WeightsId& weights) const {
  const auto replica = replicas_.find(id);
  if (replica == replicas_.end()) return true;
  if (weights.adapter != 0 && !Knows(weights)) return true;
  const auto it = replica->second.entries.find(weights);
  return it != replica->second.entries.end() && it->second.state == State::kResident;
}

std::vector<WeightsId> Residency::ResidentOf(ReplicaId id) const {
  std::vector<WeightsId> resident;
  for (const auto& [weights, entry] : replicas_.at(id).entries) {
    if (entry.state == State::kResident) resident.push_back(weights);
  }
  return resident;
}

// ---- what is wanted ----

double Residency::Work(const Demand& demand, int64_t now_ns) const {
  const auto age = static_cast<double>(now_ns - demand.at_ns);
  return demand.work * std::exp2(-age / kDemandHalfNs);
}

void Residency::Ask(const Key& key, int64_t work_ns, double share, int64_t now_ns) {
  Demand& demand = demands_[key];
  demand.work = Work(demand, now_ns) + share * static_cast<double>(work_ns);
  demand.at_ns = now_ns;
  demand.asked_ns = now_ns;
  if (demand.copies == 0) wanted_.insert(key);
}

void Residency::Wait(Demand& demand, int64_t now_ns) {
  if (demand.copies > 0 || demand.wanted_since_ns >= 0) return;
  demand.wanted_since_ns = now_ns;
  quiet_until_ns_ = 0;
}

void Residency::AddWaiting(const Key& key, int64_t work_ns, int64_t now_ns) {
  Demand& demand = demands_[key];
  demand.waiting_ns += work_ns;
  ++demand.waiting;
  Wait(demand, now_ns);
  wanted_.insert(key);
}

void Residency::RemoveWaiting(const Key& key, int64_t work_ns) {
  Demand& demand = demands_[key];
  demand.waiting_ns -= work_ns;
  if (--demand.waiting > 0) return;
  demand.wanted_since_ns = -1;
  wanted_.erase(key);
}

void Residency::Pin(ReplicaId id, const WeightsId& weights) {
  const auto replica = replicas_.find(id);
  if (replica == replicas_.end()) return;
  const auto it = replica->second.entries.find(weights);
  if (it != replica->second.entries.end()) ++it->second.pins;
}

void Residency::Unpin(ReplicaId id, const WeightsId& weights) {
  const auto replica = replicas_.find(id);
  if (replica == replicas_.end()) return;
  const auto it = replica->second.entries.find(weights);
  if (it != replica->second.entries.end()) --it->second.pins;
}

// ---- what happens to them ----

bool Residency::Loaded(ReplicaId id, const WeightsId& weights, int64_t duration_ns,
                       int64_t now_ns) {
  const auto of = replicas_.find(id);
  if (of == replicas_.end()) return false;
  Replica& replica = of->second;
  const auto it = replica.entries.find(weights);
  if (it == replica.entries.end() || it->second.state == State::kResident) return false;
  Entry& entry = it->second;
  Demand& demand = demands_[{replica.owner, weights}];
  if (entry.state == State::kLoading) {
    due_.erase({entry.overdue_ns, id, weights});
    --demand.loading;
    --replica.loads;
  }
  entry.state = State::kResident;
  entry.stays_until = now_ns + kStayPerLoad * LoadNanos(weights);
  ++demand.copies;
  demand.failures = 0;
  quiet_until_ns_ = 0;
  demand.wanted_since_ns = -1;
  if (demand.waiting == 0) wanted_.erase({replica.owner, weights});
  Known& known = catalog_[weights];
  const auto before = static_cast<double>(known.load_ns);
  const auto took = static_cast<double>(std::clamp<int64_t>(duration_ns, 1, kLoadNanosMax));
  known.load_ns = std::max<int64_t>(1, std::llround(before + kLoadRate * (took - before)));
  return true;
}

bool Residency::Failed(ReplicaId id, const WeightsId& weights, int64_t now_ns) {
  const auto of = replicas_.find(id);
  if (of == replicas_.end()) return false;
  const auto it = of->second.entries.find(weights);
  if (it == of->second.entries.end() || it->second.state == State::kResident) return false;
  const Key key{of->second.owner, weights};
  Remove(of->second, id, weights, now_ns);
  quiet_until_ns_ = 0;
  Demand& demand = demands_[key];
  demand.retry_at_ns = now_ns + (LoadNanos(weights) << demand.failures);
  demand.failures = std::min(demand.failures + 1, kLoadFailuresMax);
  return true;
}

bool Residency::Evicted(ReplicaId id, const WeightsId& weights, int64_t now_ns) {
  const auto of = replicas_.find(id);
  if (of == replicas_.end()) return false;
  const auto it = of->second.entries.find(weights);
  if (it == of->second.entries.end() || it->second.state != State::kResident) return false;
  if (it->second.pins > 0) return false;
  // A model whose adapters are there is in use, too.
  const auto next = std::next(it);
  const bool adapters = weights.adapter == 0 && next != of->second.entries.end() &&
                        next->first.model == weights.model;
  if (adapters) return false;
  Remove(of->second, id, weights, now_ns);
  return true;
}

void Residency::MarkOverdue(int64_t now_ns) {
  while (!due_.empty() && std::get<0>(*due_.begin()) < now_ns) {
    const auto [overdue_ns, id, weights] = *due_.begin();
    due_.erase(due_.begin());
    Replica& replica = replicas_.at(id);
    replica.entries.at(weights).state = State::kOverdue;
    --replica.loads;
    Demand& demand = demands_[{replica.owner, weights}];
    --demand.loading;
    if (demand.waiting > 0) Wait(demand, now_ns);
    quiet_until_ns_ = 0;
  }
}

// ---- choosing ----

int64_t Residency::LoadNanos(const WeightsId& weights) const {
  const auto it = catalog_.find(weights);
  return it == catalog_.end() ? 1 : it->second.load_ns;
}

double Residency::Worth(const Key& key, const Demand& demand, int copies, int64_t now_ns) const {
  const double work = Work(demand, now_ns) + static_cast<double>(demand.waiting_ns);
  return work / copies * static_cast<double>(LoadNanos(key.weights));
}

bool Residency::Wants(const Key& key, const Demand& demand, int64_t now_ns) const {
  if (now_ns < demand.retry_at_ns || !Knows(key.weights)) return false;
  const int copies = demand.copies + demand.loading;
  const int64_t load_ns = LoadNanos(key.weights);
  if (copies == 0) return demand.waiting > 0 || now_ns - demand.asked_ns <= 2 * load_ns;
  // Another copy where the work that waits would take longer than the load.
  return demand.waiting_ns / copies > load_ns;
}

bool Residency::HasTurn(const Key& key, const Demand& demand, int64_t now_ns) const {
  return demand.copies + demand.loading == 0 && demand.wanted_since_ns >= 0 &&
         now_ns - demand.wanted_since_ns > kTurnPerLoad * LoadNanos(key.weights) &&
         !Broken(Rule::kWeightsTurn);
}

bool Residency::MayHold(const Replica& replica, const Key& key) const {
  if (replica.owner != key.owner || replica.loads >= kLoadsInFlightMax) return false;
  if (replica.entries.size() >= kWeightsResidentMax || replica.entries.contains(key.weights)) {
    return false;
  }
  if (key.weights.adapter == 0) return true;
  // An adapter goes where its model is.
  const auto model = replica.entries.find({key.weights.model, 0});
  return model != replica.entries.end() && model->second.state == State::kResident;
}

std::optional<std::vector<WeightsId>> Residency::MakeRoom(const Replica& replica, const Key& key,
                                                          double worth, bool turn, bool in_use,
                                                          int64_t now_ns, double& loss) const {
  loss = 0;
  std::vector<WeightsId> evict;
  int64_t missing = replica.used + catalog_.at(key.weights).bytes - replica.bytes;
  if (missing <= 0 || Broken(Rule::kWeightsMemory)) return evict;
  // What could go, by what it is worth for its size; a model takes its adapters with it.
  struct Unit {
    double density = 0;
    double worth = 0;
    int64_t bytes = 0;
    WeightsId weights;
  };
  std::vector<Unit> units;
  for (auto it = replica.entries.begin(); it != replica.entries.end();) {
    Unit model{0, 0, 0, it->first};
    bool fixed = false;
    const ModelId of = it->first.model;
    // Adapters of the model follow it in order.
    for (; it != replica.entries.end() && it->first.model == of; ++it) {
      const auto& [weights, entry] = *it;
      const bool used = entry.pins > 0 && !in_use && !Broken(Rule::kPinnedWeights);
      const bool kept = used || entry.state != State::kResident || entry.bytes == 0 ||
                        (now_ns < entry.stays_until && !Broken(Rule::kWeightsStay));
      const Key victim{replica.owner, weights};
      const auto demand = demands_.find(victim);
      const double value =
          demand == demands_.end()
              ? 0
              : Worth(victim, demand->second, std::max(1, demand->second.copies), now_ns);
      fixed = fixed || kept;
      model.worth += value;
      model.bytes += entry.bytes;
      if (weights.adapter == 0 || kept) continue;
      units.push_back({value / static_cast<double>(entry.bytes), value, entry.bytes, weights});
    }
    if (fixed || of == key.weights.model) continue;
    model.density = model.worth / static_cast<double>(std::max<int64_t>(1, model.bytes));
    units.push_back(model);
  }
  std::sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
    return std::tie(a.density, a.weights) < std::tie(b.density, b.weights);
  });
  const auto taken = [&](const WeightsId& weights) {
    return std::find(evict.begin(), evict.end(), weights) != evict.end();
  };
  for (const Unit& unit : units) {
    if (missing <= 0) break;
    if (taken(unit.weights)) continue;
    const bool model = unit.weights.adapter == 0;
    auto it = replica.entries.find(unit.weights);
    do {
      if (!taken(it->first)) {
        evict.push_back(it->first);
        missing -= it->second.bytes;
      }
      ++it;
    } while (model && it != replica.entries.end() && it->first.model == unit.weights.model);
    loss += unit.worth;
  }
  if (missing > 0) return std::nullopt;
  if (!turn && loss * kWorthMore > worth) return std::nullopt;
  return evict;
}

std::optional<Residency::Choice> Residency::Place(const Key& key, const Demand& demand, bool in_use,
                                                  int64_t now_ns) {
  const double worth = Worth(key, demand, demand.copies + demand.loading + 1, now_ns);
  const bool turn = HasTurn(key, demand, now_ns);
  std::optional<Choice> best;
  double least = std::numeric_limits<double>::infinity();
  int64_t most_free = 0;
  auto it = replicas_.lower_bound(next_replica_);
  const int tries = std::min<int>(kLoadReplicasMax, static_cast<int>(replicas_.size()));
  for (int i = 0; i < tries; ++i, ++it) {
    if (it == replicas_.end()) it = replicas_.begin();
    const Replica& replica = it->second;
    if (!MayHold(replica, key) || (in_use && replica.drains_for)) continue;
    double loss = 0;
    auto evict = MakeRoom(replica, key, worth, turn, in_use, now_ns, loss);
    const int64_t free = replica.bytes - replica.used;
    if (!evict || loss > least || (loss == least && best && free <= most_free)) continue;
    best = Choice{in_use ? Choice::Kind::kDrain : Choice::Kind::kLoad, it->first, key.weights,
                  *std::move(evict)};
    least = loss;
    most_free = free;
  }
  // All are asked in turn where there are more than one decision asks.
  next_replica_ = it == replicas_.end() ? 0 : it->first;
  return best;
}

std::vector<Residency::Key> Residency::Claims(int64_t now_ns) {
  // Those nowhere before further copies, and whose turn it is before them all.
  struct Claim {
    int urgency = 0;
    double worth = 0;
    Key key;
  };
  std::vector<Claim> claims;
  const size_t looks = std::min<size_t>(kWantedMax, wanted_.size());
  auto it = cursor_ ? wanted_.lower_bound(*cursor_) : wanted_.begin();
  for (size_t i = 0; i < looks && !wanted_.empty(); ++i) {
    if (it == wanted_.end()) it = wanted_.begin();
    const Demand& demand = demands_.at(*it);
    const int copies = demand.copies + demand.loading;
    if (Wants(*it, demand, now_ns)) {
      const int urgency = copies > 0 ? 2 : HasTurn(*it, demand, now_ns) ? 0 : 1;
      claims.push_back({urgency, Worth(*it, demand, copies + 1, now_ns), *it});
    } else if (demand.waiting == 0) {
      it = wanted_.erase(it);  // who asked went away
      continue;
    }
    ++it;
  }
  cursor_.reset();
  if (it != wanted_.end() && wanted_.size() > kWantedMax) cursor_ = *it;
  std::sort(claims.begin(), claims.end(), [](const Claim& a, const Claim& b) {
    if (a.urgency != b.urgency) return a.urgency < b.urgency;
    return a.worth != b.worth ? a.worth > b.worth : a.key < b.key;
  });
  std::vector<Key> keys;
  for (const Claim& claim : claims) keys.push_back(claim.key);
  return keys;
}

void Residency::Begin(const Choice& choice, int64_t now_ns) {
  Replica& replica = replicas_.at(choice.replica);
  for (const WeightsId& weights : choice.others) {
    if (choice.kind != Choice::Kind::kLoad) {
      replica.entries.at(weights).drains = choice.kind == Choice::Kind::kDrain;
      continue;
    }
    Remove(replica, choice.replica, weights, now_ns);
  }
  if (choice.kind == Choice::Kind::kDrain) {
    replica.drains_for = choice.weights;
    draining_.insert(choice.replica);
  } else if (choice.kind == Choice::Kind::kRejoin) {
    replica.drains_for.reset();
    draining_.erase(choice.replica);
  }
  if (choice.kind != Choice::Kind::kLoad) return;
  const Known& known = catalog_.at(choice.weights);
  Entry& entry = replica.entries[choice.weights];
  entry.bytes = known.bytes;
  entry.began_ns = now_ns;
  entry.overdue_ns = now_ns + kOverduePerLoad * known.load_ns;
  replica.used += entry.bytes;
  ++replica.loads;
  ++demands_.at({replica.owner, choice.weights}).loading;
  due_.insert({entry.overdue_ns, choice.replica, choice.weights});
}

std::optional<Residency::Choice> Residency::Choose(int64_t now_ns) {
  lacks_ = lacks_ && !wanted_.empty();
  if (replicas_.empty() || (wanted_.empty() && draining_.empty())) return std::nullopt;
  MarkOverdue(now_ns);
  if (now_ns < quiet_until_ns_) return std::nullopt;
  auto choice = Rejoin();
  int tried = 0;
  const std::vector<Key> claims = Claims(now_ns);
  for (auto key = claims.begin(); key != claims.end() && !choice; ++key) {
    const Demand& demand = demands_.at(*key);
    choice = Place(*key, demand, false, now_ns);
    if (!choice && HasTurn(*key, demand, now_ns) && !DrainsFor(*key)) {
      choice = Place(*key, demand, true, now_ns);
    }
    if (++tried == kClaimsTriedMax) break;
  }
  if (choice) {
    Begin(*choice, now_ns);
  } else {
    quiet_until_ns_ = now_ns + kLookAgainNs;
    lacks_ = !claims.empty() || std::any_of(wanted_.begin(), wanted_.end(), [this](const Key& key) {
      const Demand& demand = demands_.at(key);
      return demand.copies + demand.loading == 0;
    });
  }
  return choice;
}

std::optional<Residency::Choice> Residency::Rejoin() {
  for (const ReplicaId id : draining_) {
    const Replica& replica = replicas_.at(id);
    const Demand& demand = demands_.at({replica.owner, *replica.drains_for});
    if (demand.waiting > 0 && demand.copies + demand.loading == 0) continue;
    Choice choice{Choice::Kind::kRejoin, id, *replica.drains_for, {}};
    for (const auto& [weights, entry] : replica.entries) {
      if (entry.drains) choice.others.push_back(weights);
    }
    return choice;
  }
  return std::nullopt;
}

bool Residency::DrainsFor(const Key& key) const {
  return std::any_of(draining_.begin(), draining_.end(), [&](ReplicaId id) {
    const Replica& replica = replicas_.at(id);
    return replica.owner == key.owner && replica.drains_for == key.weights;
  });
}

// ---- questions ----

std::vector<std::pair<ReplicaId, int64_t>> Residency::Arriving(const Key& key,
                                                               int64_t now_ns) const {
  std::vector<std::pair<ReplicaId, int64_t>> arriving;
  for (const auto& [id, replica] : replicas_) {
    if (replica.owner != key.owner) continue;
    if (static_cast<int>(arriving.size()) == kForecastReplicasMax) break;
    int64_t ready_ns = now_ns;
    bool all = true;
    bool waits = false;
    for (const WeightsId& weights : {BaseOf(key).weights, key.weights}) {
      const auto it = replica.entries.find(weights);
      if (it == replica.entries.end() || it->second.state == State::kOverdue) {
        all = all && weights.adapter != 0 && !Knows(weights);
      } else if (it->second.state == State::kLoading) {
        waits = true;
        ready_ns = std::max(ready_ns, it->second.began_ns + LoadNanos(weights));
      }
    }
    if (all && waits) arriving.emplace_back(id, ready_ns);
  }
  return arriving;
}

std::optional<ReplicaId> Residency::Home(const Key& key) const {
  const auto known = catalog_.find(BaseOf(key).weights);
  if (known == catalog_.end()) return std::nullopt;
  const auto adapter = catalog_.find(key.weights);
  int64_t bytes = known->second.bytes;
  if (key.weights.adapter != 0 && adapter != catalog_.end()) bytes += adapter->second.bytes;
  for (const auto& [id, replica] : replicas_) {
    if (replica.owner == key.owner && replica.bytes >= bytes) return id;
  }
  return std::nullopt;
}

int64_t Residency::WaitFor(const Key& key, int64_t now_ns) const {
  int64_t wait_ns = kNoDeadline;
  for (const auto& [id, ready_ns] : Arriving(key, now_ns)) {
    wait_ns = std::min(wait_ns, ready_ns - now_ns);
  }
  if (wait_ns != kNoDeadline) return wait_ns;
  if (!Home(key)) return kNoDeadline;
  const auto base = demands_.find(BaseOf(key));
  const bool has_base = base != demands_.end() && base->second.copies > 0;
  return std::max(has_base ? 0 : LoadNanos(BaseOf(key).weights), LoadNanos(key.weights));
}

std::vector<std::string> Residency::BrokenInvariants() const {
  std::vector<std::string> broken;
  absl::btree_map<Key, int> copies;
  for (const auto& [id, replica] : replicas_) {
    int64_t used = 0;
    int loads = 0;
    for (const auto& [weights, entry] : replica.entries) {
      used += entry.bytes;
      loads += entry.state == State::kLoading ? 1 : 0;
      copies[{replica.owner, weights}] += entry.state == State::kResident ? 1 : 0;
      if (entry.pins < 0) broken.push_back(absl::StrCat("replica ", id, " lost count of pins"));
      if (weights.adapter != 0 && !replica.entries.contains({weights.model, 0})) {
        broken.push_back(absl::StrCat("replica ", id, " has an adapter without its model"));
      }
    }
    if (used != replica.used || loads != replica.loads) {
      broken.push_back(absl::StrCat("replica ", id, " lost count of its weights"));
    }
  }
  for (const auto& [key, demand] : demands_) {
    const auto it = copies.find(key);
    if (demand.copies != (it == copies.end() ? 0 : it->second) || demand.waiting < 0) {
      broken.push_back(
          absl::StrCat("lost count of weights ", key.weights.model, "/", key.weights.adapter));
    }
  }
  return broken;
}

}  // namespace darkroom::scheduler
