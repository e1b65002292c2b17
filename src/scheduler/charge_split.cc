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

std::vector<int64_t> SplitCapped(int64_t total_ns, const std::vector<int64_t>& weights,
                                 const std::vector<int64_t>& caps) {
  __int128 room = 0;
  for (size_t i = 0; i < caps.size(); ++i) room += weights[i] > 0 ? caps[i] : 0;
  if (room < total_ns) return SplitExactly(total_ns, weights);

  std::vector<int64_t> open = weights;
  std::vector<int64_t> shares(weights.size(), 0);
  int64_t left = total_ns;
  // Each round but the last closes at least one entry.
  for (size_t round = 0; round <= weights.size(); ++round) {
    const std::vector<int64_t> split = SplitExactly(left, open);
    bool capped = false;
    for (size_t i = 0; i < open.size(); ++i) {
      if (open[i] == 0 || split[i] <= caps[i]) continue;
      shares[i] = caps[i];
      left -= caps[i];
      open[i] = 0;
      capped = true;
    }
    if (capped) continue;
    for (size_t i = 0; i < open.size(); ++i) shares[i] += split[i];
    break;
  }
  return shares;
}

}  // namespace darkroom::scheduler
