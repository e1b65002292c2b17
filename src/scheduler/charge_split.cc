#include "scheduler/charge_split.h"

#include <algorithm>
#include <numeric>

namespace darkroom::scheduler {

std::vector<int64_t> SplitExactly(int64_t total_ns, const std::vector<int64_t>& weights) {
  using Wide = unsigned __int128;  // nanoseconds times tokens passes 64 bits within days
  Wide sum = 0;
  for (const int64_t weight : weights) sum += static_cast<Wide>(weight);
  std::vector<int64_t> shares(weights.size(), 0);
  if (sum == 0 || total_ns <= 0) return shares;

  std::vector<Wide> remainders(weights.size());
  int64_t given = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const Wide product = static_cast<Wide>(total_ns) * static_cast<Wide>(weights[i]);
    shares[i] = static_cast<int64_t>(product / sum);
    remainders[i] = product % sum;
    given += shares[i];
  }
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return remainders[a] > remainders[b]; });
  for (size_t i = 0; given < total_ns; ++i, ++given) ++shares[order[i]];
  return shares;
}

}  // namespace darkroom::scheduler
