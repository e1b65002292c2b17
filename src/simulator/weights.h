#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "simulator/workload.h"

namespace darkroom::simulator {

// A base model (`adapter` 0), or an adapter of one.
struct Weights {
  uint32_t model = 0;
  uint32_t adapter = 0;
  auto operator<=>(const Weights&) const = default;
};

// A load that runs beside what the accelerator does. `tag`: whoever ordered it knows it by that.
struct WeightLoad {
  int gpu = 0;
  Weights weights;
  int64_t tag = 0;
};

// A base model takes so many units of an accelerator's memory, an adapter one: a twentieth, as
// adapters of a gigabyte beside a model of twenty.
inline constexpr int64_t kModelBytes = 20;
inline constexpr int64_t kAdapterBytes = 1;
// The medians of the production trace's loads (GenTD26): what a policy is told.
inline constexpr int64_t kModelLoadNs = 22'718'000'000;
inline constexpr int64_t kAdapterLoadNs = 4'378'000'000;

// What the `nth` load of these weights takes: drawn from the trace's loads, by the seed alone, so
// that all policies meet the same.
int64_t LoadNanos(uint64_t seed, const Weights& weights, int nth);

// The weights of each accelerator under others' policies: loaded when a batch needs them, while it
// waits, in place of those used least lately.
class LruWeights {
 public:
  void Reset(const Workload& workload);
  bool Holds(int gpu, const WorkJob& job) const;
  // Some accelerator holds its base model.
  bool Anywhere(const WorkJob& job) const;
  // Those of the jobs that have to be loaded there; they are held from now on.
  std::vector<Weights> Bring(int gpu, const std::vector<const WorkJob*>& jobs);
  void Lose(int gpu) { held_[static_cast<size_t>(gpu)].clear(); }

 private:
  bool Has(int gpu, const Weights& weights) const;

  int64_t bytes_ = 0;
  std::vector<std::list<Weights>> held_;  // per accelerator, used last first
};

}  // namespace darkroom::simulator
