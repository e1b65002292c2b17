#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "scheduler/types.h"

namespace darkroom::scheduler {

// Predicts quanta of one hardware and model. Starts from a worker's profile, or a guess per token
// without one, and follows what is measured: a running mean of actual / predicted per stage.
class CostTable {
 public:
  // Points that are not positive are left out.
  explicit CostTable(const std::vector<CostPoint>& points);

  // Nanoseconds of one quantum of so many tokens, at least 1.
  int64_t Predict(Stage stage, int64_t tokens) const;
  void Observe(Stage stage, int64_t tokens, int64_t actual_ns);

 private:
  int64_t Profile(Stage stage, int64_t tokens) const;

  std::array<std::vector<CostPoint>, kStages> points_;  // ascending in tokens and nanoseconds
  std::array<double, kStages> correction_{};
};

}  // namespace darkroom::scheduler
