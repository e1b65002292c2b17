#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "scheduler/types.h"

namespace darkroom::scheduler {

// Predicts quanta of one replica. Starts from the worker's profile, or a guess per token without
// one, and follows what is measured: a running mean of actual / predicted per stage.
class CostTable {
 public:
  explicit CostTable(const std::vector<CostPoint>& points);

  int64_t Predict(Stage stage, int64_t tokens) const;
  void Observe(Stage stage, int64_t tokens, int64_t actual_ns);

 private:
  int64_t Profile(Stage stage, int64_t tokens) const;

  std::array<std::vector<CostPoint>, kStages> points_;
  std::array<double, kStages> correction_{};
};

}  // namespace darkroom::scheduler
