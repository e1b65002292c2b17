#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace darkroom::scheduler {

// How far predictions fall short over whole jobs: the 99th percentile of actual / predicted - 1, at
// least 0, of what was seen lately. Errors of single quanta are no measure, because they cancel out
// or add up within a job.
class CostError {
 public:
  // Of a job that ended: what its quanta took and what had been predicted, both positive.
  void Add(int64_t actual_ns, int64_t predicted_ns);
  double Epsilon() const { return epsilon_; }

  // Ratios from 1 to 2 in steps of 1/64; the first bucket holds all below, the last all above.
  static constexpr int kBuckets = 66;
  // Jobs seen, by ratio; and what an earlier life saw, instead of what this one did. REQUIRES:
  // kBuckets counts of 0 to kCostErrorJobsMax.
  std::vector<int64_t> Counts() const { return {counts_.begin(), counts_.end()}; }
  void Restore(const std::vector<int64_t>& counts);

 private:
  static constexpr double kEpsilonAtFirst = 0.05;
  static constexpr int64_t kJobsBefore = 100;         // until then the first guess holds
  static constexpr int64_t kJobsRemembered = 10'000;  // then all counts are halved

  void SetEpsilon();

  std::array<int64_t, kBuckets> counts_{};
  int64_t jobs_ = 0;
  double epsilon_ = kEpsilonAtFirst;
};

}  // namespace darkroom::scheduler
