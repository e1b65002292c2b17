#include "simulator/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace darkroom::simulator {
namespace {

struct Share {
  double met = 0;
  double all = 0;
  void Add(bool in_time, double weight) {
    met += in_time ? weight : 0;
    all += weight;
  }
  double Value() const { return all > 0 ? met / all : 1.0; }
};

// Two-sided 95% quantiles of Student's t by degrees of freedom; beyond, the normal's.
constexpr std::array<double, 30> kStudent = {
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
constexpr double kNormal = 1.96;

void MeasureTenants(std::vector<double> attainments, RunMetrics& metrics) {
  if (attainments.empty()) return;
  std::sort(attainments.begin(), attainments.end());
  const size_t decile = std::max<size_t>(1, attainments.size() / 10);
  double sum = 0;
  double squares = 0;
  for (size_t i = 0; i < attainments.size(); ++i) {
    if (i < decile) metrics.tenant_worst_decile += attainments[i] / static_cast<double>(decile);
    sum += attainments[i];
    squares += attainments[i] * attainments[i];
  }
  metrics.tenant_worst = attainments.front();
  metrics.jain =
      squares > 0 ? sum * sum / (static_cast<double>(attainments.size()) * squares) : 1.0;
}

void MeasureTimes(const Workload& workload, const SimulationResult& result, double on_time_units,
                  std::vector<double> slowdowns, RunMetrics& metrics) {
  metrics.slowdown_p50 = Percentile(slowdowns, 0.50);
  metrics.slowdown_p95 = Percentile(slowdowns, 0.95);
  metrics.slowdown_p99 = Percentile(std::move(slowdowns), 0.99);
  const double span_s = static_cast<double>(result.end_ns) / 1e9;
  if (span_s > 0) {
    metrics.goodput = on_time_units / span_s;
    metrics.busy = static_cast<double>(result.busy_ns) / 1e9 / span_s / workload.gpus;
  }
  std::vector<double> decisions;
  decisions.reserve(result.decision_ns.size());
  for (const int64_t nanos : result.decision_ns) {
    decisions.push_back(static_cast<double>(nanos) / 1e3);
  }
  metrics.decision_us_p50 = Percentile(decisions, 0.50);
  metrics.decision_us_p99 = Percentile(decisions, 0.99);
  metrics.decision_us_max = Percentile(std::move(decisions), 1.0);
}

}  // namespace

RunMetrics Measure(const Workload& workload, const SimulationResult& result) {
  RunMetrics metrics;
  Share jobs;
  Share alone;
  Share work;
  Share victims;
  std::map<int32_t, Share> shapes;
  std::map<int32_t, Share> counts;
  std::map<uint32_t, Share> tenants;
  std::map<uint32_t, bool> requests;
  std::vector<double> slowdowns;
  std::vector<double> behind_video_s;
  for (size_t i = 0; i < workload.jobs.size(); ++i) {
    const WorkJob& job = workload.jobs[i];
    const JobState& state = result.states[i];
    const bool in_time = state.finished_ns >= 0 && state.finished_ns <= job.deadline_ns;
    const double units = static_cast<double>(job.milli_units) / 1000.0 * job.steps;
    if (state.behind_video_ns >= 0) {
      behind_video_s.push_back(static_cast<double>(state.behind_video_ns) / 1e9);
    }
    metrics.refused += state.refused ? 1 : 0;
    jobs.Add(in_time, 1);
    alone.Add(job.solo_ns <= job.deadline_ns - job.arrival_ns, 1);
    work.Add(in_time, units);
    if (state.finished_ns >= 0 && job.solo_ns > 0) {
      slowdowns.push_back(static_cast<double>(state.finished_ns - job.arrival_ns) /
                          static_cast<double>(job.solo_ns));
    }
    auto& all_in_time = requests.try_emplace(job.request, true).first->second;
    all_in_time = all_in_time && in_time;
    if (job.flood) continue;
    victims.Add(in_time, 1);
    shapes[job.shape].Add(in_time, 1);
    counts[job.request_jobs].Add(in_time, 1);
    tenants[job.tenant].Add(in_time, 1);
  }
  metrics.attainment = jobs.Value();
  metrics.attainable = alone.Value();
  metrics.attainment_work = work.Value();
  metrics.attainment_victims = victims.Value();
  Share whole;
  for (const auto& [request, in_time] : requests) whole.Add(in_time, 1);
  metrics.attainment_requests = whole.Value();
  for (const auto& [shape, share] : shapes) metrics.attainment_by_shape[shape] = share.Value();
  for (const auto& [count, share] : counts) metrics.attainment_by_count[count] = share.Value();
  std::vector<double> attainments;
  for (const auto& [tenant, share] : tenants) attainments.push_back(share.Value());
  MeasureTenants(std::move(attainments), metrics);
  metrics.behind_video_s_p50 = Percentile(behind_video_s, 0.50);
  metrics.behind_video_s_p99 = Percentile(std::move(behind_video_s), 0.99);
  MeasureTimes(workload, result, work.met, std::move(slowdowns), metrics);
  return metrics;
}

Interval MeanInterval(const std::vector<double>& values) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  double mean = 0;
  for (const double value : values) mean += value / count;
  if (values.size() == 1) return {mean, mean, mean};
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const size_t freedom = values.size() - 1;
  const double quantile = freedom <= kStudent.size() ? kStudent[freedom - 1] : kNormal;
  const double half = quantile * std::sqrt(squares / static_cast<double>(freedom) / count);
  return {mean, mean - half, mean + half};
}

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  const size_t index = std::min(values.size() - 1, static_cast<size_t>(std::max(0.0, rank - 1)));
  std::nth_element(values.begin(), values.begin() + static_cast<long>(index), values.end());
  return values[index];
}

}  // namespace darkroom::simulator
