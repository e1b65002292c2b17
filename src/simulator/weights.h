#pragma once

#include <cstdint>
#include <list>
#include <set>
#include <utility>
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

// Whether an accelerator runs quanta while weights are loaded into it.
enum class LoadMode : uint8_t {
  kOwn,     // as each policy does it: ours runs, others wait
  kBlock,   // nobody does
  kBeside,  // everybody does
};

// What the `nth` load of these weights takes: drawn from the trace's loads, by the seed alone, so
// that all policies meet the same.
int64_t LoadNanos(uint64_t seed, const Weights& weights, int nth);

// The weights of each accelerator under others' policies, in place of those used least lately:
// loaded when a batch needs them, while it waits (Bring), or beside what runs (Fetch).
class LruWeights {
 public:
  void Reset(const Workload& workload);
  bool Holds(int gpu, const WorkJob& job) const;
  // Some accelerator holds its base model, or loads it.
  bool Anywhere(const WorkJob& job) const;
  // Those of the jobs that have to be loaded there; they are held from now on.
  std::vector<Weights> Bring(int gpu, const std::vector<const WorkJob*>& jobs);
  // The job's are loaded from now on, unless they are already or the accelerator has as many loads
  // under way as it may.
  void Fetch(int gpu, const WorkJob& job);
  void Arrive(int gpu, const Weights& weights);
  // Appends what Fetch began.
  void TakeLoads(std::vector<WeightLoad>& loads);
  void Lose(int gpu);

 private:
  bool Has(int gpu, const Weights& weights) const;
  // Puts the job's weights first; appends those that were not there.
  void Use(int gpu, const WorkJob& job, std::vector<Weights>& missing);
  void Evict(int gpu);

  int64_t bytes_ = 0;
  std::vector<std::list<Weights>> held_;  // per accelerator, used last first
  std::set<std::pair<int, Weights>> coming_;
  std::vector<WeightLoad> begun_;
};

}  // namespace darkroom::simulator
