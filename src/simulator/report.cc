#include "simulator/report.h"

#include <functional>

#include "nlohmann/json.hpp"

namespace darkroom::simulator {
namespace {

using Json = nlohmann::ordered_json;
using Getter = std::function<double(const RunMetrics&)>;

std::vector<double> Values(const Experiment& experiment, const Getter& get) {
  std::vector<double> values;
  for (const RunMetrics& run : experiment.runs) values.push_back(get(run));
  return values;
}

double Mean(const Experiment& experiment, const Getter& get) {
  return MeanInterval(Values(experiment, get)).mean;
}

Json ToJsonObject(const Interval& interval) {
  return {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

// Means per class over the seeds that had jobs of it.
Json ByClass(const Experiment& experiment, std::map<int32_t, double> RunMetrics::*classes) {
  std::map<int32_t, std::vector<double>> values;
  for (const RunMetrics& run : experiment.runs) {
    for (const auto& [name, share] : run.*classes) values[name].push_back(share);
  }
  Json object = Json::object();
  for (const auto& [name, shares] : values) {
    object[std::to_string(name)] = MeanInterval(shares).mean;
  }
  return object;
}

}  // namespace

std::string ToJson(const Experiment& experiment) {
  const auto mean = [&](double RunMetrics::*field) {
    return Mean(experiment, [field](const RunMetrics& run) { return run.*field; });
  };
  Json json;
  json["workload"] = experiment.workload;
  json["policy"] = experiment.policy;
  json["gpus"] = experiment.gpus;
  json["load"] = experiment.load;
  json["seeds"] = experiment.runs.size();
  json["attainment"] = ToJsonObject(
      MeanInterval(Values(experiment, [](const RunMetrics& run) { return run.attainment; })));
  json["attainment_by_resolution"] = ByClass(experiment, &RunMetrics::attainment_by_shape);
  json["attainment_by_count"] = ByClass(experiment, &RunMetrics::attainment_by_count);
  json["attainable"] = mean(&RunMetrics::attainable);
  json["attainment_work"] = mean(&RunMetrics::attainment_work);
  json["attainment_requests"] = mean(&RunMetrics::attainment_requests);
  json["attainment_victims"] = mean(&RunMetrics::attainment_victims);
  json["goodput_units_per_s"] = mean(&RunMetrics::goodput);
  json["busy"] = mean(&RunMetrics::busy);
  json["slowdown"] = {{"p50", mean(&RunMetrics::slowdown_p50)},
                      {"p95", mean(&RunMetrics::slowdown_p95)},
                      {"p99", mean(&RunMetrics::slowdown_p99)}};
  json["tenants"] = {{"worst", mean(&RunMetrics::tenant_worst)},
                     {"worst_decile", mean(&RunMetrics::tenant_worst_decile)},
                     {"jain", mean(&RunMetrics::jain)}};
  json["behind_video_s"] = {{"p50", mean(&RunMetrics::behind_video_s_p50)},
                            {"p99", mean(&RunMetrics::behind_video_s_p99)}};
  json["refused"] =
      Mean(experiment, [](const RunMetrics& run) { return static_cast<double>(run.refused); });
  json["decision_us"] = {{"p50", mean(&RunMetrics::decision_us_p50)},
                         {"p99", mean(&RunMetrics::decision_us_p99)},
                         {"max", mean(&RunMetrics::decision_us_max)}};
  json["runs"] = Json::array();
  for (const RunMetrics& run : experiment.runs) json["runs"].push_back(run.attainment);
  json["runs_victims"] =
      Values(experiment, [](const RunMetrics& r) { return r.attainment_victims; });
  return json.dump(2);
}

}  // namespace darkroom::simulator
