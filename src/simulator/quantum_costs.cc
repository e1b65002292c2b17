#include "simulator/quantum_costs.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace darkroom::simulator {

void QuantumCosts::SetProfile(const std::vector<scheduler::CostPoint>& points) {
  for (const scheduler::CostPoint& point : points) {
    if (point.tokens <= 0 || point.nanos <= 0) continue;
    profile_[static_cast<size_t>(point.stage)][point.tokens] = static_cast<double>(point.nanos);
  }
  for (Curve& curve : profile_) {
    // A larger batch that was measured faster was measured wrong.
    double least = 0;
    for (auto& [tokens, nanos] : curve) least = nanos = std::max(nanos, least);
  }
}

void QuantumCosts::Observe(scheduler::Stage stage, int64_t tokens, int64_t nanos) {
  const auto i = static_cast<size_t>(stage);
  const auto add = [](Mean& mean, double value) {
    mean.sum += value;
    ++mean.count;
  };
  if (!profile_[i].empty()) {
    add(ratio_[i], static_cast<double>(nanos) / At(profile_[i], tokens));
  }
  add(observed_[i][tokens], static_cast<double>(nanos));
}

int64_t QuantumCosts::Nanos(scheduler::Stage stage, int64_t tokens) const {
  const auto i = static_cast<size_t>(stage);
  double nanos = 0;
  if (!profile_[i].empty()) {
    const double ratio =
        ratio_[i].count == 0 ? 1.0 : ratio_[i].sum / static_cast<double>(ratio_[i].count);
    nanos = At(profile_[i], tokens) * ratio;
  } else {
    Curve means;
    for (const auto& [at, mean] : observed_[i]) {
      means[at] = mean.sum / static_cast<double>(mean.count);
    }
    if (!means.empty()) nanos = At(means, tokens);
  }
  return std::max<int64_t>(1, std::llround(nanos));
}

double QuantumCosts::At(const Curve& curve, int64_t tokens) {
  const auto high = curve.lower_bound(tokens);
  if (high == curve.end()) {
    const auto& [most, nanos] = *curve.rbegin();
    return nanos * static_cast<double>(tokens) / static_cast<double>(most);
  }
  // Below the least, what is fixed about a quantum counts most.
  if (high == curve.begin() || high->first == tokens) return high->second;
  const auto low = std::prev(high);
  const double share =
      static_cast<double>(tokens - low->first) / static_cast<double>(high->first - low->first);
  return low->second + share * (high->second - low->second);
}

}  // namespace darkroom::simulator
