#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

template <typename H>
H AbslHashValue(H h, const WeightsId& weights) {
  return H::combine(std::move(h), weights.model, weights.adapter);
}

// Which weights are where, who waits for which, and what is to be loaded and evicted for it. Only
// of replicas with a memory of their own for weights (ReplicaSpec::weights_bytes); the others have
// all that they serve as long as they live. Bookkeeping alone: whoever owns it
// (scheduler_residency.cc) tells it what happens, and carries out what it chooses.
//
// Worth: what weights are worth to a replica is the work that asked for them lately (halved every
// kDemandHalfNs) and waits for them now, over their copies, times what loading them takes: how long
// that work would stand still without this copy. Weights are loaded in place of others that are
// worth clearly less, or once jobs have waited for kTurnPerLoad loads. This is GreedyDual-Size's
// cost over size (Cao and Irani, USENIX '97) with demand that is known for its recency.
class Residency {
 public:
  // Weights as one kind of replica sees them: the shared ones (-1), or a tenant's own.
  struct Key {
    int64_t owner = -1;
    WeightsId weights;
    auto operator<=>(const Key&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.owner, key.weights);
    }
  };
  struct Choice {
    enum class Kind : uint8_t {
      kLoad,    // load `weights` in place of `others`
      kDrain,   // no new job is to use `others` there, so that they can make room for `weights`
      kRejoin,  // `others` may be used again
    };
    Kind kind = Kind::kLoad;
    ReplicaId replica = 0;
    WeightsId weights;
    std::vector<WeightsId> others;
  };

  // ---- what there is ----
  // May be loaded from now on; false beyond kWeightsKnownMax.
  bool Know(const WeightsKnown& known);
  bool Knows(const WeightsId& weights) const { return catalog_.contains(weights); }
  void Attach(ReplicaId id, const ReplicaSpec& spec);
  void Detach(ReplicaId id, int64_t now_ns);
  bool Manages(ReplicaId id) const { return replicas_.contains(id); }
  // No replica loads weights; no weights are known that one could load.
  bool empty() const { return replicas_.empty(); }
  bool unused() const { return catalog_.empty(); }
  bool Resident(ReplicaId id, const WeightsId& weights) const;
  std::vector<WeightsId> ResidentOf(ReplicaId id) const;

  // ---- what is wanted ----
  // A job asked for weights, of so much work; `share` (0 to 1) is its tenant's say in what stays.
  void Ask(const Key& key, int64_t work_ns, double share, int64_t now_ns);
  // A job of so much work waits for them, and no longer does.
  void AddWaiting(const Key& key, int64_t work_ns, int64_t now_ns);
  void RemoveWaiting(const Key& key, int64_t work_ns);
  // A job that needs them has a place there that it cannot leave.
  void Pin(ReplicaId id, const WeightsId& weights);
  void Unpin(ReplicaId id, const WeightsId& weights);

  // ---- what happens to them ----
  // Each is false, and changes nothing, for weights that were not being loaded there.
  bool Loaded(ReplicaId id, const WeightsId& weights, int64_t duration_ns, int64_t now_ns);
  bool Failed(ReplicaId id, const WeightsId& weights, int64_t now_ns);
  // False for weights that are not there, or are in use.
  bool Evicted(ReplicaId id, const WeightsId& weights, int64_t now_ns);
  // What to load next, and what to evict for it, as if both were done; nothing when all is well, or
  // nothing can be done about it.
  std::optional<Choice> Choose(int64_t now_ns);
  // Something is wanted that could not be loaded yet.
  bool wants_clock() const { return lacks_; }

  // ---- questions ----
  // Until a replica would have them all; 0: one has; kNoDeadline: none could.
  int64_t WaitFor(const Key& key, int64_t now_ns) const;
  // Replicas that will have them, with when, those that have them left out.
  std::vector<std::pair<ReplicaId, int64_t>> Arriving(const Key& key, int64_t now_ns) const;
  // A replica that could hold them, if any: the first.
  std::optional<ReplicaId> Home(const Key& key) const;
  // The invariants that do not hold, in words. For tests.
  std::vector<std::string> BrokenInvariants() const;

 private:
  struct Known {
    int64_t bytes = 0;
    int64_t load_ns = 0;
  };
  struct Demand {
    double work = 0;  // decayed to `at_ns`
    int64_t at_ns = 0;
    int64_t waiting_ns = 0;
    int64_t waiting = 0;  // jobs
    int copies = 0;
    int loading = 0;  // that are not overdue
    // Since when jobs wait for weights that are nowhere; -1: none do.
    int64_t wanted_since_ns = -1;
    int64_t asked_ns = -1;  // the latest
    int failures = 0;       // in a row
    int64_t retry_at_ns = 0;
  };
  enum class State : uint8_t { kLoading, kOverdue, kResident };
  struct Entry {
    State state = State::kLoading;
    int64_t bytes = 0;
    int64_t began_ns = 0;     // the load
    int64_t overdue_ns = 0;   // when it is no longer waited for
    int64_t stays_until = 0;  // once it is resident
    int pins = 0;
    bool drains = false;
  };
  struct Replica {
    int64_t owner = -1;
    int64_t bytes = 0;
    int64_t used = 0;
    int loads = 0;  // under way, overdue ones left out
    std::optional<WeightsId> drains_for;
    absl::btree_map<WeightsId, Entry> entries;
  };

  static Key BaseOf(const Key& key) { return {key.owner, {key.weights.model, 0}}; }
  int64_t LoadNanos(const WeightsId& weights) const;
  double Work(const Demand& demand, int64_t now_ns) const;
  // Of one more, or the last, copy.
  double Worth(const Key& key, const Demand& demand, int copies, int64_t now_ns) const;
  void MarkOverdue(int64_t now_ns);
  void Wait(Demand& demand, int64_t now_ns);
  // Whoever waits for them waits from now on, if these were the last.
  void Remove(Replica& replica, ReplicaId id, const WeightsId& weights, int64_t now_ns);
  bool Wants(const Key& key, const Demand& demand, int64_t now_ns) const;
  // Jobs have waited for them long enough to go before what is worth more.
  bool HasTurn(const Key& key, const Demand& demand, int64_t now_ns) const;
  // What to evict there for the weights; nothing when that is not possible or not worth it.
  // `loss`: what the evicted are worth. `in_use`: those in use count as if they were not.
  std::optional<std::vector<WeightsId>> MakeRoom(const Replica& replica, const Key& key,
                                                 double worth, bool turn, bool in_use,
                                                 int64_t now_ns, double& loss) const;
  bool MayHold(const Replica& replica, const Key& key) const;
  // What is wanted and lacks a copy, the most urgent first.
  std::vector<Key> Claims(int64_t now_ns);
  std::optional<Choice> Place(const Key& key, const Demand& demand, bool in_use, int64_t now_ns);
  std::optional<Choice> Rejoin();
  bool DrainsFor(const Key& key) const;
  void Begin(const Choice& choice, int64_t now_ns);

  absl::flat_hash_map<WeightsId, Known> catalog_;
  absl::flat_hash_map<Key, Demand> demands_;
  absl::btree_set<Key> wanted_;  // that jobs wait for, or were just refused for
  absl::btree_map<ReplicaId, Replica> replicas_;
  // Loads under way, by when they are overdue.
  absl::btree_set<std::tuple<int64_t, ReplicaId, WeightsId>> due_;
  std::optional<Key> cursor_;  // where the next look at the wanted begins, if there are many
  ReplicaId next_replica_ = 0;
  // Nothing could be done when it was last looked at: the next look is then, or at a change.
  int64_t quiet_until_ns_ = 0;
  bool lacks_ = false;
  absl::btree_set<ReplicaId> draining_;
};

}  // namespace darkroom::scheduler
