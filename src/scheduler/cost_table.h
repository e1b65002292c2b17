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
  // Points and corrections that are not positive are left out. `adapter_ns`: what each different
  // adapter adds to a denoising step.
  explicit CostTable(const std::vector<CostPoint>& points,
                     const std::vector<CostLearned>& learned = {}, int64_t adapter_ns = 0);

  // Nanoseconds of one quantum of so many tokens and different adapters, at least 1.
  int64_t Predict(Stage stage, int64_t tokens, size_t adapters = 0) const;
  // `part`: of a step that was cut; `actual_ns` is what the whole would have taken at its pace, and
  // the parts of a step together count as one observation does.
  void Observe(Stage stage, int64_t tokens, int64_t actual_ns, int adapters = 0, double part = 1);
  // Whether a worker measured the stage, so that its quanta only correct that.
  bool Profiled(Stage stage) const { return !points_[static_cast<int>(stage)].empty(); }
  int64_t adapter_ns() const { return adapter_ns_; }

  // The profile, by stage and tokens, and what was learned of each stage that was ever observed.
  std::vector<CostPoint> Points() const;
  std::vector<CostLearned> Learned() const;
  // The latest quantum of a stage: its tokens (0: none yet), what was predicted just before and
  // what it took.
  struct Latest {
    int64_t tokens = 0;
    int64_t predicted_ns = 0;
    int64_t actual_ns = 0;
  };
  const Latest& LatestOf(Stage stage) const { return latest_[static_cast<int>(stage)]; }

 private:
  int64_t Profile(Stage stage, int64_t tokens) const;

  std::array<std::vector<CostPoint>, kStages> points_;  // ascending in tokens and nanoseconds
  std::array<double, kStages> correction_{};
  std::array<int64_t, kStages> observations_{};
  std::array<Latest, kStages> latest_;
  int64_t adapter_ns_ = 0;
};

}  // namespace darkroom::scheduler
