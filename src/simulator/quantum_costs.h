#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "scheduler/types.h"

namespace darkroom::simulator {

// What quanta take, as a profile says and quanta show.
class QuantumCosts {
 public:
  // As ReplicaSpec::cost; ascending in tokens within a stage.
  void SetProfile(const std::vector<scheduler::CostPoint>& points);
  void Observe(scheduler::Stage stage, int64_t tokens, int64_t nanos);
  // At least 1. Where the stage has a profile: that, interpolated, times the mean ratio of what was
  // observed to it. Otherwise the means of what was observed, interpolated; in proportion beyond.
  int64_t Nanos(scheduler::Stage stage, int64_t tokens) const;

 private:
  struct Mean {
    double sum = 0;
    int64_t count = 0;
  };
  using Curve = std::map<int64_t, double>;
  static double At(const Curve& curve, int64_t tokens);

  std::array<Curve, scheduler::kStages> profile_;
  std::array<Mean, scheduler::kStages> ratio_;
  std::array<std::map<int64_t, Mean>, scheduler::kStages> observed_;
};

}  // namespace darkroom::simulator
