#pragma once

#include <cstdint>
#include <vector>

namespace darkroom::scheduler {

// Splits `total_ns` in proportion to `weights` (>= 0, not all 0) into whole nanoseconds that sum to
// it exactly: the largest-remainder method, ties to the lower index.
std::vector<int64_t> SplitExactly(int64_t total_ns, const std::vector<int64_t>& weights);

}  // namespace darkroom::scheduler
