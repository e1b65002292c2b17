#include "simulator/workload_trace.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "simulator/limits.h"
#include "simulator/random.h"

namespace darkroom::simulator {
namespace {

constexpr double kSecondsPerUnit = 0.052;
constexpr int64_t kIdleGapSeconds = 120;
constexpr int32_t kImagesPerRequest = 4;
constexpr int32_t kFloodSteps = 30;
constexpr double kGraceSeconds = 0.5;

struct Shape {
  int32_t pixels;
  int64_t milli_units;
};
constexpr Shape k512{512, 1000};
constexpr Shape k768{768, 2250};
constexpr Shape k1024{1024, 4560};
constexpr std::array<Shape, 4> kShapes = {k512, k512, k768, k1024};

absl::Status Invalid(std::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument, "WORKLOAD_INVALID", what);
}

absl::Status Check(const Trace& trace, const TraceWorkloadOptions& options) {
  if (options.gpus < 1 || options.gpus > kGpusMax) {
    return Invalid(absl::StrCat("gpus must be 1 to ", kGpusMax, "; it is ", options.gpus));
  }
  if (!(options.load >= 0.01 && options.load <= 10)) {
    return Invalid(absl::StrCat("load must be 0.01 to 10; it is ", options.load));
  }
  if (!(options.deadline_slack >= 0.1 && options.deadline_slack <= 1000)) {
    return Invalid(absl::StrCat("slo must be 0.1 to 1000; it is ", options.deadline_slack));
  }
  if (!(options.flood >= 0 && options.flood <= 100)) {
    return Invalid(absl::StrCat("flood must be 0 to 100; it is ", options.flood));
  }
  if (options.tenants < 1) return Invalid("tenants must be at least 1");
  const auto lines = static_cast<int64_t>(trace.requests.size());
  if (options.requests < 2 || options.requests > lines) {
    return Invalid(absl::StrCat("requests must be 2 to ", lines,
                                ", the length of the trace; it is ", options.requests));
  }
  return absl::OkStatus();
}

// One request: a time in seconds and its pictures.
struct Arrival {
  double at_s = 0;
  WorkJob job;  // of each picture
};

WorkJob Picture(const Shape& shape, int32_t steps, int32_t images, const StepTable& table) {
  WorkJob job;
  job.shape = shape.pixels;
  job.milli_units = shape.milli_units;
  job.steps = steps;
  job.request_jobs = images;
  job.solo_ns = table.Nanos(shape.milli_units) * steps;
  return job;
}

std::vector<Arrival> Consecutive(const Trace& trace, const TraceWorkloadOptions& options,
                                 Random& random) {
  const auto count = static_cast<size_t>(options.requests);
  const size_t first = random.Below(trace.requests.size() - count + 1);
  std::vector<Arrival> arrivals;
  double at_s = 0;
  for (size_t i = 0; i < count; ++i) {
    const TraceRequest& request = trace.requests[first + i];
    if (i > 0) {
      const int64_t gap = request.created_s - trace.requests[first + i - 1].created_s;
      at_s += static_cast<double>(std::min(gap, kIdleGapSeconds));
    }
    const Shape& shape = kShapes[random.Below(kShapes.size())];
    Arrival arrival{at_s, Picture(shape, request.steps, std::min(request.images, kImagesPerRequest),
                                  options.table)};
    arrival.job.tenant = request.tenant % options.tenants;
    arrival.job.model = request.model;
    // The trace counts adapters without naming them: each of its tenants has one per model.
    if (request.adapters > 0 && options.gpu_models > 0) arrival.job.adapter = 1 + request.tenant;
    arrivals.push_back(arrival);
  }
  return arrivals;
}

// Scales arrival times until the work offered is `load` of the capacity.
void Compress(std::vector<Arrival>& arrivals, const TraceWorkloadOptions& options) {
  double work_s = 0;
  for (const Arrival& arrival : arrivals) {
    work_s += kSecondsPerUnit * static_cast<double>(arrival.job.milli_units) / 1000.0 *
              arrival.job.steps * arrival.job.request_jobs;
  }
  const double span_s = std::max(arrivals.back().at_s, 1.0);
  const double scale = work_s / (options.gpus * options.load) / span_s;
  for (Arrival& arrival : arrivals) arrival.at_s *= scale;
}

void AddFlood(std::vector<Arrival>& arrivals, const TraceWorkloadOptions& options, Random& random) {
  const double span_s = arrivals.back().at_s;
  const auto middle = static_cast<double>(
      std::count_if(arrivals.begin(), arrivals.end(), [&](const Arrival& arrival) {
        return arrival.at_s >= span_s / 3 && arrival.at_s < span_s * 2 / 3;
      }));
  const auto count = static_cast<int64_t>(std::llround(options.flood * middle));
  for (int64_t i = 0; i < count; ++i) {
    Arrival arrival{span_s * (1 + random.Uniform()) / 3,
                    Picture(i % 2 == 0 ? k512 : k1024, kFloodSteps, 1, options.table)};
    arrival.job.tenant = options.tenants;
    arrival.job.flood = true;
    arrivals.push_back(arrival);
  }
}

}  // namespace

absl::StatusOr<Workload> MakeTraceWorkload(const Trace& trace, const TraceWorkloadOptions& options,
                                           uint64_t seed) {
  if (const absl::Status status = Check(trace, options); !status.ok()) return status;
  Random random(seed);
  std::vector<Arrival> arrivals = Consecutive(trace, options, random);
  Compress(arrivals, options);
  if (options.flood > 0) AddFlood(arrivals, options, random);
  std::stable_sort(arrivals.begin(), arrivals.end(),
                   [](const Arrival& a, const Arrival& b) { return a.at_s < b.at_s; });

  Workload workload;
  workload.name = options.flood > 0 ? "W1 with a flood" : "W1";
  workload.gpus = options.gpus;
  workload.tenants = options.tenants + (options.flood > 0 ? 1 : 0);
  workload.table = options.table;
  workload.gpu_models = options.gpu_models;
  uint32_t request = 0;
  for (const Arrival& arrival : arrivals) {
    WorkJob job = arrival.job;
    job.request = request++;
    job.arrival_ns = std::llround(arrival.at_s * 1e9);
    job.deadline_ns =
        job.arrival_ns + std::llround(options.deadline_slack * static_cast<double>(job.solo_ns) +
                                      kGraceSeconds * 1e9);
    workload.jobs.insert(workload.jobs.end(), static_cast<size_t>(job.request_jobs), job);
  }
  return workload;
}

}  // namespace darkroom::simulator
