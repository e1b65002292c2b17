// darkroom-sim: the scheduler and its peers on simulated accelerators.

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "base/error.h"
#include "main/sim_decisions.h"
#include "main/sim_replay.h"
#include "simulator/gentd26.h"
#include "simulator/limits.h"
#include "simulator/policies.h"
#include "simulator/report.h"
#include "simulator/simulation.h"
#include "simulator/workload_edits.h"
#include "simulator/workload_flux.h"
#include "simulator/workload_tenants.h"
#include "simulator/workload_trace.h"
#include "simulator/workload_video.h"

namespace darkroom {
namespace {

using Tenants = simulator::TenantsWorkloadOptions::Mix;
// W4's, by the name of their --workload.
const std::map<std::string, Tenants> kTenantMixes = {
    {"on-off", Tenants::kOnOff}, {"thrash", Tenants::kThrash}, {"tiny", Tenants::kTiny}};
const std::map<std::string, simulator::LoadMode> kLoadModes = {
    {"own", simulator::LoadMode::kOwn},
    {"block", simulator::LoadMode::kBlock},
    {"beside", simulator::LoadMode::kBeside}};

struct Flags {
  std::string trace;
  std::string format = "gentd26";
  std::string policy = "darkroom";
  std::string step_table;
  std::string priority = "strict";
  std::string write_jobs;
  int seeds = 5;
  int first_seed = 1;
  int degree = 1;
  double cost_error = 0;
  double burst_credit_s = 1000;
  int64_t warmup_jobs = 100;
  bool json = false;
  bool stay = false;
  double move_ms = 1;
  double quantum_ms = 0;
  double outage_s = 0;
  std::string mix = "trace";
  std::string loads = "own";
  int64_t peer_knee = simulator::kPeerKneeMilliUnits;
  simulator::TraceWorkloadOptions workload;
  simulator::VideoWorkloadOptions video;
  simulator::FluxWorkloadOptions flux;
  simulator::EditsWorkloadOptions edits;
  simulator::DarkroomOptions darkroom;
};

void AddFluxFlags(CLI::App& app, Flags& flags) {
  app.add_option("--rate", flags.flux.requests_per_minute, "of W2: pictures a minute")
      ->check(CLI::Range(0.01, 1e6));
  app.add_option("--slo-scale", flags.flux.slo_scale,
                 "of W2: times 1.5, 2, 3 and 5 s, the deadlines by resolution")
      ->check(CLI::Range(0.1, 1000.0));
  app.add_option("--degree", flags.degree,
                 "accelerators that run each batch together, of policies that keep to one number")
      ->check(CLI::Range(1, simulator::kDegreeMax));
  app.add_flag("--skewed", flags.flux.skewed, "W2 prefers large resolutions");
}

void AddTraceFlags(CLI::App& app, Flags& flags) {
  app.add_option("--trace", flags.trace, "requests to replay (see --format)");
  app.add_option("--workload", flags.mix,
                 "trace: W1, a stretch of --trace; flux: W2, FLUX at four resolutions; video: W3, "
                 "pictures (--load) and clips; on-off, thrash, tiny: W4, tenants that are hard on "
                 "others; edits: W5, masked edits beside whole pictures")
      ->check(CLI::IsMember({"trace", "flux", "video", "on-off", "thrash", "tiny", "edits"}));
  app.add_option("--mask-mean", flags.edits.mask_mean,
                 "of W5: share of a picture that is edited, on the average")
      ->check(CLI::Range(0.01, 0.99));
  app.add_option("--video-load", flags.video.video_load, "of W3: work of clips over capacity")
      ->check(CLI::Range(0.0, 10.0));
  app.add_option("--video-segments", flags.video.video_segments,
                 "of W3: pieces that a clip's step can be cut into")
      ->check(CLI::Range(1, simulator::kSegmentsMax));
  app.add_option("--outage", flags.outage_s,
                 "W6: every accelerator in turn is lost once, for so many seconds")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--warmup-jobs", flags.warmup_jobs,
                 "of --format decisions: jobs at the log's start from which costs are learned")
      ->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--format", flags.format,
                 "of the trace: gentd26, or decisions, a daemon's decision log, whose jobs are "
                 "simulated beside what became of them")
      ->check(CLI::IsMember({"gentd26", "decisions"}));
}

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--quantum-ms", flags.quantum_ms,
                 "of policy darkroom: the longest quantum where a step can be cut; 0: whole steps")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--policy", flags.policy, "who schedules")
      ->check(CLI::IsMember(simulator::PolicyNames()));
  app.add_option("--gpus", flags.workload.gpus, "accelerators")
      ->check(CLI::Range(1, simulator::kGpusMax));
  app.add_option("--load", flags.workload.load, "work offered over capacity")
      ->check(CLI::Range(0.01, 10.0));
  app.add_option(
         "--gpu-models", flags.workload.gpu_models,
         "base models that an accelerator has room for, loaded in the trace's times; 0: all "
         "weights are everywhere")
      ->check(CLI::Range(0, 1000));
  app.add_option("--loads", flags.loads,
                 "whether accelerators run quanta while weights are loaded into them: own, ours do "
                 "and others' do not; block, none does; beside, all do")
      ->check(CLI::IsMember({"own", "block", "beside"}));
  app.add_option("--slo", flags.workload.deadline_slack, "deadline over time alone")
      ->check(CLI::Range(0.1, 1000.0));
  app.add_option("--requests", flags.workload.requests, "consecutive requests of each seed");
  app.add_option("--flood", flags.workload.flood,
                 "one more tenant sends this share more requests in the middle third")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--step-table", flags.step_table,
                 "h200 (measured), no-launch-cost, flux-h100 (W2's, by degree), "
                 "flux-h100-compiled, or a file of degree,units,seconds");
  app.add_option("--cost-error", flags.cost_error, "deviation of true from predicted work")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--seeds", flags.seeds, "runs, each with a stretch of the trace of its own")
      ->check(CLI::Range(1, simulator::kSeedsMax));
  app.add_option("--priority", flags.priority, "of policy darkroom: strict or goodput")
      ->check(CLI::IsMember({"strict", "goodput"}));
  app.add_option("--burst-credit", flags.burst_credit_s, "of policy darkroom, in seconds")
      ->check(CLI::Range(0.0, 1e9));
  app.add_option("--reserve-share", flags.darkroom.policy.reserve_share, "of policy darkroom")
      ->check(CLI::Range(0.0, 0.5));
  app.add_option("--knee", flags.darkroom.knee_milli_units,
                 "of policy darkroom: thousandths of a 512x512 picture in a batch")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--peer-knee", flags.peer_knee, "the same of all other policies but tetriserve")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--plans", flags.darkroom.plans_in_flight,
                 "of policy darkroom: 2 stages a quantum ahead")
      ->check(CLI::Range(1, 8));
  app.add_flag("--revoke", flags.darkroom.revokes,
               "policy darkroom takes a staged quantum back when a better one turns up");
  app.add_flag("--stay", flags.stay,
               "policy darkroom leaves a started job on the accelerator where it began");
  app.add_option("--move-ms", flags.move_ms,
                 "of policy darkroom: what taking over a job's latents takes")
      ->check(CLI::Range(0.0, 60'000.0));
  app.add_option("--flood-weight", flags.darkroom.flood_weight,
                 "of policy darkroom: weight of the tenant that floods; everybody else's is 1")
      ->check(CLI::Range(0.001, 1000.0));
  app.add_option("--size-weight", flags.darkroom.policy.size_weight,
                 "of policy darkroom: 1 least time left first, 0 fewest steps left first")
      ->check(CLI::Range(0.0, 1.0));
  app.add_flag("--equal-models", flags.darkroom.equal_models,
               "policy darkroom batches jobs of one base model only");
  app.add_option("--write-jobs", flags.write_jobs,
                 "writes the jobs of every seed to this file, as CSV, and simulates nothing");
  app.add_flag("--json", flags.json, "print one JSON object");
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Error(absl::StatusCode::kNotFound, "FILE_UNREADABLE", "cannot read " + path);
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<simulator::StepTable> ReadStepTable(const Flags& flags) {
  const std::string otherwise = flags.mix == "flux" ? "flux-h100" : "h200";
  const std::string& name = flags.step_table.empty() ? otherwise : flags.step_table;
  if (name == "flux-h100") return simulator::StepTable::FluxH100();
  if (name == "flux-h100-compiled") return simulator::StepTable::FluxH100(1.0);
  if (name == "h200") return simulator::StepTable::MeasuredH200();
  if (name == "no-launch-cost") return simulator::StepTable::WithoutLaunchCost();
  const auto text = ReadFile(name);
  if (!text.ok()) return text.status();
  return simulator::StepTable::Parse(*text);
}

void WriteJobs(const simulator::Workload& workload, uint64_t seed, std::ostream& out) {
  for (const simulator::WorkJob& job : workload.jobs) {
    out << seed << ',' << job.request << ',' << job.tenant << ',' << job.shape << ','
        << job.request_jobs << ',' << job.milli_units << ',' << job.steps << ',' << job.arrival_ns
        << ',' << job.deadline_ns << ',' << job.solo_ns << ',' << (job.flood ? 1 : 0) << '\n';
  }
}

absl::StatusOr<simulator::Trace> ReadTrace(const Flags& flags) {
  if (flags.mix != "trace") return simulator::Trace{};
  if (flags.trace.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "TRACE_MISSING",
                 "--workload trace needs --trace FILE, the requests to replay");
  }
  auto text = ReadFile(flags.trace);
  if (!text.ok()) return text.status();
  return simulator::ParseGentd26(*text);
}

absl::StatusOr<simulator::Workload> MakeWorkload(const simulator::Trace& trace, const Flags& flags,
                                                 uint64_t seed) {
  if (flags.mix == "trace") return simulator::MakeTraceWorkload(trace, flags.workload, seed);
  if (flags.mix == "flux") {
    simulator::FluxWorkloadOptions options = flags.flux;
    options.gpus = flags.workload.gpus;
    options.requests = flags.workload.requests;
    options.table = flags.workload.table;
    return simulator::MakeFluxWorkload(options, seed);
  }
  if (flags.mix == "edits") {
    simulator::EditsWorkloadOptions options = flags.edits;
    options.gpus = flags.workload.gpus;
    options.load = flags.workload.load;
    options.deadline_slack = flags.workload.deadline_slack;
    return simulator::MakeEditsWorkload(options, seed);
  }
  if (const auto mix = kTenantMixes.find(flags.mix); mix != kTenantMixes.end()) {
    simulator::TenantsWorkloadOptions options;
    options.mix = mix->second;
    options.gpus = flags.workload.gpus;
    options.load = flags.workload.load;
    options.deadline_slack = flags.workload.deadline_slack;
    options.table = flags.workload.table;
    return simulator::MakeTenantsWorkload(options, seed);
  }
  simulator::VideoWorkloadOptions options = flags.video;
  options.gpus = flags.workload.gpus;
  options.picture_load = flags.workload.load;
  options.deadline_slack = flags.workload.deadline_slack;
  options.table = flags.workload.table;
  return simulator::MakeVideoWorkload(options, seed);
}

absl::Status CheckLoads(const Flags& flags) {
  if (flags.workload.gpu_models == 0) return absl::OkStatus();
  if (flags.degree == 1 && flags.policy != "tetriserve") return absl::OkStatus();
  return Error(
      absl::StatusCode::kInvalidArgument, "DEGREE_WITH_LOADS",
      "nobody loads weights onto several accelerators together: --gpu-models must be 0, or "
      "--degree 1 and --policy none but tetriserve");
}

absl::StatusOr<simulator::Experiment> Run(Flags flags) {
  if (const absl::Status loads = CheckLoads(flags); !loads.ok()) return loads;
  const auto trace = ReadTrace(flags);
  if (!trace.ok()) return trace.status();
  auto table = ReadStepTable(flags);
  if (!table.ok()) return table.status();
  flags.workload.table = *std::move(table);
  flags.darkroom.quantum_ns_max = static_cast<int64_t>(flags.quantum_ms * 1e6);
  flags.darkroom.moves = !flags.stay;
  flags.darkroom.move_ns = static_cast<int64_t>(flags.move_ms * 1e6);
  flags.darkroom.policy.burst_credit_ns = static_cast<int64_t>(flags.burst_credit_s * 1e9);
  flags.darkroom.policy.priority =
      flags.priority == "strict" ? scheduler::Priority::kStrict : scheduler::Priority::kGoodput;
  simulator::Experiment experiment;
  experiment.policy = flags.policy;
  experiment.gpus = flags.workload.gpus;
  experiment.load = flags.workload.load;
  std::ofstream jobs_file;
  if (!flags.write_jobs.empty()) {
    jobs_file.open(flags.write_jobs, std::ios::binary | std::ios::trunc);
    jobs_file << "seed,request,tenant,shape,request_jobs,milli_units,steps,arrival_ns,deadline_ns,"
                 "solo_ns,flood\n";
  }
  for (int i = 0; i < flags.seeds; ++i) {
    const auto seed = static_cast<uint64_t>(flags.first_seed + i);
    const auto workload = MakeWorkload(*trace, flags, seed);
    if (!workload.ok()) return workload.status();
    if (!flags.write_jobs.empty()) {
      WriteJobs(*workload, seed, jobs_file);
      continue;
    }
    auto policy = simulator::MakePolicy(flags.policy, flags.darkroom, flags.degree);
    if (!policy.ok()) return policy.status();
    simulator::SimulationOptions options;
    options.seed = seed;
    options.cost_error = flags.cost_error;
    options.load_mode = kLoadModes.at(flags.loads);
    options.peer_knee_milli_units = flags.peer_knee;
    options.time_decisions = true;
    if (flags.outage_s > 0) {
      options.outages =
          simulator::OutagesInTurn(*workload, static_cast<int64_t>(flags.outage_s * 1e9));
    }
    const auto result = simulator::Simulate(*workload, **policy, options);
    experiment.workload = workload->name;
    experiment.runs.push_back(simulator::Measure(*workload, result));
  }
  if (!flags.write_jobs.empty() && !jobs_file.flush()) {
    return Error(absl::StatusCode::kInternal, "FILE_UNWRITABLE",
                 "cannot write " + flags.write_jobs);
  }
  return experiment;
}

int Main(int argc, char** argv) {
  CLI::App app{"Simulates the scheduler, and others' policies, on a trace of requests."};
  Flags flags;
  AddTraceFlags(app, flags);
  AddFlags(app, flags);
  AddFluxFlags(app, flags);
  app.add_option("--first-seed", flags.first_seed)->check(CLI::Range(0, 1 << 30));
  app.footer("darkroom-sim --replay FILE runs a daemon's decision log again.");
  CLI11_PARSE(app, argc, argv);
  if (flags.format == "decisions") {
    return DecisionsMain(flags.trace, flags.warmup_jobs, flags.json);
  }
  const auto experiment = Run(flags);
  if (!experiment.ok()) {
    std::cerr << "darkroom-sim: " << experiment.status().message() << " ["
              << ErrorReason(experiment.status()) << "]\n";
    return 1;
  }
  if (!flags.write_jobs.empty()) return 0;
  if (flags.json) {
    std::cout << simulator::ToJson(*experiment) << '\n';
    return 0;
  }
  std::vector<double> attainments;
  for (const auto& run : experiment->runs) attainments.push_back(run.attainment);
  const auto interval = simulator::MeanInterval(attainments);
  std::printf("%s, %s, load %.2f: attainment %.3f (%.3f to %.3f)\n", experiment->workload.c_str(),
              experiment->policy.c_str(), experiment->load, interval.mean, interval.low,
              interval.high);
  return 0;
}

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) {
  return darkroom::IsReplay(argc, argv) ? darkroom::ReplayMain(argc, argv)
                                        : darkroom::Main(argc, argv);
}
