#pragma once

#include <cstdint>
#include <vector>

namespace darkroom::scheduler {

// Splits `total_ns` in proportion to `weights` (>= 0, not all 0) into whole nanoseconds that sum to
// it exactly: the largest-remainder method, ties to the lower index.
std::vector<int64_t> SplitExactly(int64_t total_ns, const std::vector<int64_t>& weights);

// The same, but entry i gets at most `caps[i]` as long as the caps allow the total; what is above
// goes to the others in proportion. Where they do not allow it, they do not count.
std::vector<int64_t> SplitCapped(int64_t total_ns, const std::vector<int64_t>& weights,
                                 const std::vector<int64_t>& caps);

}  // namespace darkroom::scheduler
