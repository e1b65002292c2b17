#include "scheduler/cost_error.h"

#include <algorithm>
#include <cmath>

namespace darkroom::scheduler {

void CostError::Add(int64_t actual_ns, int64_t predicted_ns) {
  if (actual_ns <= 0 || predicted_ns <= 0) return;
  const double ratio = static_cast<double>(actual_ns) / static_cast<double>(predicted_ns);
  const double bucket = std::clamp(std::ceil((ratio - 1.0) * 64), 0.0, kBuckets - 1.0);
  ++counts_[static_cast<size_t>(bucket)];
  ++jobs_;
  SetEpsilon();
  if (jobs_ < kJobsRemembered) return;
  jobs_ = 0;
  for (int64_t& count : counts_) jobs_ += count /= 2;
}

void CostError::Restore(const std::vector<int64_t>& counts) {
  jobs_ = 0;
  for (size_t i = 0; i < counts_.size(); ++i) jobs_ += counts_[i] = counts[i];
  SetEpsilon();
}

void CostError::SetEpsilon() {
  if (jobs_ < kJobsBefore) return;
  int64_t above = 0;
  int last = kBuckets - 1;
  while (last > 0 && above + counts_[static_cast<size_t>(last)] <= jobs_ / 100) {
    above += counts_[static_cast<size_t>(last--)];
  }
  epsilon_ = last / 64.0;
}

}  // namespace darkroom::scheduler
