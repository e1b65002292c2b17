#include "scheduler/cost_table.h"

#include <algorithm>

#include "scheduler/limits.h"

namespace darkroom::scheduler {
namespace {

// A correction moves by this share of each new observation, and stays within these bounds, so that
// one stalled quantum does not spoil the predictions of the next hundred.
constexpr double kCorrectionRate = 0.1;
constexpr double kCorrectionMin = 0.01;
constexpr double kCorrectionMax = 1000.0;

}  // namespace

CostTable::CostTable(const std::vector<CostPoint>& points, const std::vector<CostLearned>& learned,
                     int64_t adapter_ns)
    : adapter_ns_(std::max<int64_t>(0, adapter_ns)) {
  correction_.fill(1.0);
  for (const CostPoint& point : points) {
    if (point.tokens > 0 && point.nanos > 0)
      points_[static_cast<int>(point.stage)].push_back(point);
  }
  for (auto& stage : points_) {
    std::sort(stage.begin(), stage.end(),
              [](const CostPoint& a, const CostPoint& b) { return a.tokens < b.tokens; });
    // A larger batch that was measured faster was measured wrong.
    int64_t least = 1;
    for (CostPoint& point : stage) least = point.nanos = std::max(point.nanos, least);
  }
  for (const CostLearned& stage : learned) {
    // Written so that NaN fails.
    if (!(stage.correction >= kCorrectionMin && stage.correction <= kCorrectionMax)) continue;
    correction_[static_cast<int>(stage.stage)] = stage.correction;
    observations_[static_cast<int>(stage.stage)] = std::max<int64_t>(0, stage.observations);
  }
}

std::vector<CostPoint> CostTable::Points() const {
  std::vector<CostPoint> points;
  for (const auto& stage : points_) points.insert(points.end(), stage.begin(), stage.end());
  return points;
}

std::vector<CostLearned> CostTable::Learned() const {
  std::vector<CostLearned> learned;
  for (int i = 0; i < kStages; ++i) {
    if (observations_[i] == 0) continue;
    learned.push_back({static_cast<Stage>(i), correction_[i], observations_[i]});
  }
  return learned;
}

int64_t CostTable::Profile(Stage stage, int64_t tokens) const {
  const auto& points = points_[static_cast<int>(stage)];
  if (points.empty()) return std::max<int64_t>(1, tokens) * kDefaultNanosPerToken;
  const auto it = std::lower_bound(
      points.begin(), points.end(), tokens,
      [](const CostPoint& point, int64_t wanted) { return point.tokens < wanted; });
  if (it != points.end()) return it->nanos;
  // Beyond the profile the work is compute-bound: time grows with the tokens.
  const CostPoint& last = points.back();
  return std::max<int64_t>(
      1, static_cast<int64_t>(static_cast<double>(last.nanos) * static_cast<double>(tokens) /
                              static_cast<double>(last.tokens)));
}

int64_t CostTable::Predict(Stage stage, int64_t tokens, size_t adapters) const {
  const double nanos =
      static_cast<double>(Profile(stage, tokens)) * correction_[static_cast<int>(stage)];
  const int64_t adapters_ns =
      stage == Stage::kDenoise ? adapter_ns_ * static_cast<int64_t>(adapters) : 0;
  return std::max<int64_t>(1, static_cast<int64_t>(nanos)) + adapters_ns;
}

void CostTable::Observe(Stage stage, int64_t tokens, int64_t actual_ns, int adapters, double part) {
  const int64_t own_ns = stage == Stage::kDenoise
                             ? std::max<int64_t>(1, actual_ns - adapter_ns_ * adapters)
                             : actual_ns;
  const double ratio =
      std::clamp(static_cast<double>(own_ns) / static_cast<double>(Profile(stage, tokens)),
                 kCorrectionMin, kCorrectionMax);
  const auto i = static_cast<size_t>(stage);
  latest_[i] = {tokens, Predict(stage, tokens, static_cast<size_t>(adapters)), actual_ns};
  ++observations_[i];
  // A stage without a profile starts from a guess that may be off by orders of magnitude: there the
  // first observations count as their mean.
  const double rate = points_[i].empty()
                          ? std::max(kCorrectionRate, 1.0 / static_cast<double>(observations_[i]))
                          : kCorrectionRate;
  correction_[i] += part * rate * (ratio - correction_[i]);
}

}  // namespace darkroom::scheduler
