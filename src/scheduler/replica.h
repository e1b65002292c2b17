#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "scheduler/job.h"
#include "scheduler/timeline.h"
#include "scheduler/types.h"
#include "scheduler/wait_queue.h"
#include "scheduler/work_histogram.h"

namespace darkroom::scheduler {

// One tenant leaves a quarter of a replica's slots to the others, who could otherwise wait for a
// whole job of its.
inline int SlotsPerTenant(const ReplicaSpec& spec) {
  if (spec.dedicated_to || spec.slots < 4) return spec.slots;
  return spec.slots - spec.slots / 4;
}

struct PlanItem {
  JobId job = 0;
  TenantId tenant = 0;
  Position at;
  int64_t tokens = 0;
  int64_t weight = 0;   // its part of what the quantum takes
  int64_t solo_ns = 0;  // of this quantum, alone
  int64_t predicted_share_ns = 0;
};

// A quantum that was ordered and has not come back.
struct Plan {
  uint64_t sequence = 0;
  Stage stage = Stage::kEncode;
  int64_t tokens = 0;
  int adapters = 0;  // different ones
  int32_t segments = 1;
  int32_t segments_of_step = 1;
  int64_t predicted_ns = 0;
  int64_t move_ns = 0;  // before it, to take over jobs that come with it
  // Replicas that run it together, this one and its helpers.
  std::vector<ReplicaId> helpers;
  // What is billed if it takes what was predicted: accelerator time, without that of helpers which
  // nobody's deadline asked for.
  int64_t billed_ns = 0;
  // The first of `items` asked for the helpers and pays what they cost above its company's price.
  bool first_pays = false;
  // What it changed the replica's reserve by.
  int64_t reserve_ns = 0;
  // Where its head stood in the order. Empty: nothing that comes is better, because the reserve or
  // a guarantee asked for it.
  std::optional<std::tuple<int, int64_t, uint64_t>> head;
  bool revoking = false;  // it was asked for, and there is no answer yet
  std::vector<PlanItem> items;

  int32_t degree() const { return 1 + static_cast<int32_t>(helpers.size()); }
  // The most that each item pays of a quantum that takes so long: its price alone at that pace, but
  // for who asked for the helpers.
  std::vector<int64_t> Caps(int64_t duration_ns) const {
    std::vector<int64_t> caps;
    for (const PlanItem& item : items) {
      const auto paced_ns = static_cast<__int128>(item.solo_ns) * duration_ns;
      caps.push_back(static_cast<int64_t>(paced_ns / std::max<int64_t>(1, predicted_ns)) + 1);
    }
    if (first_pays) caps.front() = std::numeric_limits<int64_t>::max();
    return caps;
  }
};

// Replicas that may run quanta together.
struct Gang {
  std::vector<ReplicaId> members;  // by rank; kNowhere where there is none
  uint32_t hardware = 0;
  int64_t quantum_ns_max = 0;  // ReplicaSpec::quantum_ns_max of its members
};

// Jobs of one model that may run on the same replicas.
struct GroupKey {
  ModelId model = 0;
  int64_t owner = -1;    // the tenant whose own replicas they are; -1: shared
  bool media = false;    // the media pool's, of every model
  uint32_t adapter = 0;  // that all of them need, if it is one that is loaded by itself
  auto operator<=>(const GroupKey&) const = default;
};

struct Group {
  WaitQueue queue;                            // jobs without a slot
  std::array<WorkHistogram, 2> waiting_work;  // of the queue; [1]: of the late
  // Started jobs between two of their steps that may go on elsewhere, by their bits.
  absl::btree_map<NumericsKey, WaitQueue> started;
  absl::btree_set<ReplicaId> replicas;
  int gang_replicas = 0;  // of them that may run a quantum together with others
  // Those with room for a plan, by plans they have: where a new job looks first.
  absl::btree_set<std::pair<int, ReplicaId>> hungry;
  // The hardware whose costs predict what waits; of the first replica that came.
  int64_t hardware = -1;
  ReplicaId next_placement = 0;  // where the next search for a guarantee begins
};

struct Replica {
  ReplicaSpec spec;
  std::vector<GroupKey> groups;
  std::set<uint32_t> free_slots;
  absl::btree_set<JobId> residents;
  absl::flat_hash_map<TenantId, int> residents_of;
  std::deque<Plan> plans;
  int64_t front_since_ns = 0;  // when the oldest plan began
  uint64_t last_sequence = 0;
  Timeline timeline;
  int to_open = 0;  // guaranteed jobs placed here that have no slot yet
  // Time that is due to late jobs of protected tenants and was not given to them yet.
  int64_t reserve_ns = 0;
  // It helps with that replica's plan, since then, and for so long as predicted.
  ReplicaId helps = kNowhere;
  int64_t helps_since_ns = 0;
  int64_t helps_ns = 0;
  // Until then it may be idle for the others of a gang that forms; 0: no gang waits for it.
  int64_t held_until_ns = 0;

  bool Idle() const { return plans.empty() && helps == kNowhere; }
  // When its plans will be done, if quanta take `factor` times their prediction.
  int64_t BusyUntil(int64_t now_ns, double factor) const {
    if (helps != kNowhere) {
      return std::max(
          now_ns, helps_since_ns + static_cast<int64_t>(static_cast<double>(helps_ns) * factor));
    }
    int64_t until_ns = front_since_ns;
    for (const Plan& plan : plans) {
      const int64_t plan_ns = plan.move_ns + plan.predicted_ns;
      until_ns += static_cast<int64_t>(static_cast<double>(plan_ns) * factor);
    }
    return plans.empty() ? now_ns : std::max(now_ns, until_ns);
  }
};

}  // namespace darkroom::scheduler
