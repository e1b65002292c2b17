#include "scheduler/cost_error.h"

#include <algorithm>
#include <cmath>

namespace darkroom::scheduler {

void CostError::Add(int64_t actual_ns, int64_t predicted_ns) {
  if (actual_ns <= 0 || predicted_ns <= 0) return;
  const double ratio = static_cast<double>(actual_ns) / static_cast<double>(predicted_ns);
  const double bucket = std::clamp(std::ceil((ratio - 1.0) * 64), 0.0, kBuckets - 1.0);
  ++counts_[static_cast<size_t>(bucket)];
  if (++jobs_ < kJobsBefore) return;
  int64_t above = 0;
  int last = kBuckets - 1;
  while (last > 0 && above + counts_[static_cast<size_t>(last)] <= jobs_ / 100) {
    above += counts_[static_cast<size_t>(last--)];
  }
  epsilon_ = last / 64.0;
  if (jobs_ < kJobsRemembered) return;
  jobs_ = 0;
  for (int64_t& count : counts_) jobs_ += count /= 2;
}

}  // namespace darkroom::scheduler
