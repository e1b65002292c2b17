#include "simulator/weights.h"

#include <algorithm>
#include <array>

#include "simulator/random.h"

namespace darkroom::simulator {
namespace {

struct Quantile {
  double share;
  double seconds;
};
// Of the trace's 7,531 loads of base models and 27,415 of adapters.
constexpr std::array<Quantile, 9> kModelLoads = {{{0, 1.3},
                                                  {.1, 2.6},
                                                  {.25, 3.1},
                                                  {.5, 22.7},
                                                  {.75, 36.9},
                                                  {.9, 42.0},
                                                  {.95, 45.4},
                                                  {.99, 51.9},
                                                  {1, 58.0}}};
constexpr std::array<Quantile, 8> kAdapterLoads = {
    {{0, .6}, {.1, 2.7}, {.25, 3.6}, {.5, 4.4}, {.75, 5.3}, {.9, 6.1}, {.99, 8.2}, {1, 21.5}}};

// Loads beside what runs that an accelerator has under way at most, as ours.
constexpr int kLoadsAtOnce = 2;

template <size_t N>
double At(const std::array<Quantile, N>& quantiles, double share) {
  size_t i = 1;
  while (i + 1 < N && quantiles[i].share < share) ++i;
  const Quantile& low = quantiles[i - 1];
  const Quantile& high = quantiles[i];
  return low.seconds +
         (high.seconds - low.seconds) * (share - low.share) / (high.share - low.share);
}

int64_t BytesOf(const Weights& weights) {
  return weights.adapter == 0 ? kModelBytes : kAdapterBytes;
}

}  // namespace

int64_t LoadNanos(uint64_t seed, const Weights& weights, int nth) {
  const uint64_t of = (uint64_t{weights.model} << 32) | weights.adapter;
  Random random((seed * 0x9e3779b97f4a7c15ull) ^ (of * 0xbf58476d1ce4e5b9ull) ^
                (static_cast<uint64_t>(nth) * 0x94d049bb133111ebull));
  const double share = random.Uniform();
  return static_cast<int64_t>(
      1e9 * (weights.adapter == 0 ? At(kModelLoads, share) : At(kAdapterLoads, share)));
}

void LruWeights::Reset(const Workload& workload) {
  if (!held_.empty()) return;
  bytes_ = workload.gpu_models * kModelBytes;
  held_.resize(static_cast<size_t>(workload.gpus));
}

bool LruWeights::Has(int gpu, const Weights& weights) const {
  const auto& held = held_[static_cast<size_t>(gpu)];
  return std::find(held.begin(), held.end(), weights) != held.end();
}

bool LruWeights::Holds(int gpu, const WorkJob& job) const {
  const auto there = [&](const Weights& weights) {
    return Has(gpu, weights) && !coming_.contains({gpu, weights});
  };
  return there({job.model, 0}) && (job.adapter == 0 || there({job.model, job.adapter}));
}

bool LruWeights::Anywhere(const WorkJob& job) const {
  for (size_t gpu = 0; gpu < held_.size(); ++gpu) {
    if (Has(static_cast<int>(gpu), {job.model, 0})) return true;
  }
  return false;
}

void LruWeights::Use(int gpu, const WorkJob& job, std::vector<Weights>& missing) {
  auto& held = held_[static_cast<size_t>(gpu)];
  for (const Weights& weights : {Weights{job.model, job.adapter}, Weights{job.model, 0}}) {
    const auto it = std::find(held.begin(), held.end(), weights);
    if (it == held.end()) {
      missing.push_back(weights);
      held.push_front(weights);
    } else {
      held.splice(held.begin(), held, it);
    }
  }
}

void LruWeights::Evict(int gpu) {
  auto& held = held_[static_cast<size_t>(gpu)];
  int64_t used = 0;
  for (auto it = held.begin(); it != held.end();) {
    used += BytesOf(*it);
    if (used > bytes_) coming_.erase({gpu, *it});
    it = used > bytes_ ? held.erase(it) : std::next(it);
  }
}

std::vector<Weights> LruWeights::Bring(int gpu, const std::vector<const WorkJob*>& jobs) {
  std::vector<Weights> missing;
  for (const WorkJob* job : jobs) Use(gpu, *job, missing);
  Evict(gpu);
  return missing;
}

void LruWeights::Fetch(int gpu, const WorkJob& job) {
  const auto under_way = std::count_if(coming_.begin(), coming_.end(),
                                       [gpu](const auto& of) { return of.first == gpu; });
  if (under_way >= kLoadsAtOnce) return;
  std::vector<Weights> missing;
  Use(gpu, job, missing);
  for (const Weights& weights : missing) {
    coming_.insert({gpu, weights});
    begun_.push_back({gpu, weights, 0});
  }
  Evict(gpu);
}

void LruWeights::Arrive(int gpu, const Weights& weights) { coming_.erase({gpu, weights}); }

void LruWeights::TakeLoads(std::vector<WeightLoad>& loads) {
  loads.insert(loads.end(), begun_.begin(), begun_.end());
  begun_.clear();
}

void LruWeights::Lose(int gpu) {
  held_[static_cast<size_t>(gpu)].clear();
  std::erase_if(coming_, [gpu](const auto& of) { return of.first == gpu; });
}

}  // namespace darkroom::simulator
