#include "main/sim_decisions.h"

#include <cstdio>
#include <vector>

#include "base/error.h"
#include "main/mapped_file.h"
#include "nlohmann/json.hpp"
#include "simulator/daemon_rerun.h"
#include "simulator/metrics.h"

namespace darkroom {
namespace {

constexpr int kExitInvalid = 1;
constexpr int kExitUnreadable = 2;

struct Summary {
  double attainment = 0;  // share of all jobs that ended by their deadlines
  int64_t refused = 0;
  double p50_s = 0;  // from a job's arrival to its end, of those that ended
  double p95_s = 0;
  double p99_s = 0;
};

Summary Summarize(const std::vector<simulator::JobTimes>& jobs) {
  Summary summary;
  std::vector<double> seconds;
  int64_t met = 0;
  for (const simulator::JobTimes& job : jobs) {
    summary.refused += job.refused ? 1 : 0;
    if (job.finished_ns < 0) continue;
    met += job.finished_ns <= job.deadline_ns ? 1 : 0;
    seconds.push_back(static_cast<double>(job.finished_ns - job.arrival_ns) * 1e-9);
  }
  summary.attainment = static_cast<double>(met) / static_cast<double>(jobs.size());
  summary.p50_s = simulator::Percentile(seconds, 0.50);
  summary.p95_s = simulator::Percentile(seconds, 0.95);
  summary.p99_s = simulator::Percentile(seconds, 0.99);
  return summary;
}

nlohmann::ordered_json ToJson(const Summary& summary) {
  return {{"attainment", summary.attainment},
          {"refused", summary.refused},
          {"p50_s", summary.p50_s},
          {"p95_s", summary.p95_s},
          {"p99_s", summary.p99_s}};
}

nlohmann::ordered_json ToJson(const simulator::DaemonOverheads& overheads) {
  return {{"commit", overheads.commit_ns / 1000},
          {"start", overheads.start_ns / 1000},
          {"gap", overheads.gap_ns / 1000},
          {"media", overheads.media_ns / 1000}};
}

void Print(const char* who, const Summary& summary) {
  std::printf("%-10s attainment %.3f  refused %lld  p50 %.3f s  p95 %.3f s  p99 %.3f s\n", who,
              summary.attainment, static_cast<long long>(summary.refused), summary.p50_s,
              summary.p95_s, summary.p99_s);
}

}  // namespace

int DecisionsMain(const std::string& path, int64_t warmup_jobs, bool json) {
  const MappedFile file(path.c_str());
  if (!file.ok()) {
    std::fprintf(stderr, "darkroom-sim: cannot read the decision log\n");
    return kExitUnreadable;
  }
  const auto rerun = simulator::RerunDaemon(file.bytes(), warmup_jobs);
  if (!rerun.ok()) {
    std::fprintf(stderr, "darkroom-sim: %s [%s]\n", std::string(rerun.status().message()).c_str(),
                 ErrorReason(rerun.status()).c_str());
    return kExitInvalid;
  }
  const Summary daemon = Summarize(rerun->daemon);
  const Summary simulated = Summarize(rerun->simulated);
  if (!json) {
    Print("daemon", daemon);
    Print("simulated", simulated);
    return 0;
  }
  nlohmann::ordered_json pace;
  constexpr const char* kNames[] = {"encode", "image_encode", "denoise", "decode", "media_encode"};
  for (size_t i = 0; i < rerun->pace.size(); ++i) {
    const simulator::StagePace& stage = rerun->pace[i];
    if (stage.quanta == 0) continue;
    pace[kNames[i]] = {{"quanta", stage.quanta},
                       {"actual_over_expected", static_cast<double>(stage.actual_ns) /
                                                    static_cast<double>(stage.expected_ns)}};
  }
  const nlohmann::ordered_json out = {
      {"jobs", rerun->daemon.size()},
      {"daemon", ToJson(daemon)},
      {"simulated", ToJson(simulated)},
      {"simulated_at_pace", ToJson(Summarize(rerun->simulated_at_pace))},
      {"learned_from_quanta", rerun->quanta},
      {"overheads_us", ToJson(rerun->overheads)},
      {"run_overheads_us", ToJson(rerun->run_overheads)},
      {"run_pace", pace}};
  std::printf("%s\n", out.dump(2).c_str());
  return 0;
}

}  // namespace darkroom
