#include "simulator/workload_video.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "simulator/limits.h"
#include "simulator/random.h"

namespace darkroom::simulator {
namespace {

constexpr double kNanosPerUnit = 52e6;
constexpr double kGraceNanos = 0.5e9;
constexpr int64_t kVideoMilliUnits = 96'000;
constexpr int32_t kVideoSteps = 30;
constexpr int32_t kPictureSteps = 30;

absl::Status Check(const VideoWorkloadOptions& options) {
  const auto invalid = [](std::string_view what) {
    return Error(absl::StatusCode::kInvalidArgument, "WORKLOAD_INVALID", what);
  };
  if (options.gpus < 1 || options.gpus > kGpusMax) {
    return invalid(absl::StrCat("gpus must be 1 to ", kGpusMax, "; it is ", options.gpus));
  }
  // Written so that NaN fails.
  if (!(options.picture_load >= 0.01 && options.picture_load <= 10)) {
    return invalid(absl::StrCat("load must be 0.01 to 10; it is ", options.picture_load));
  }
  if (!(options.video_load >= 0 && options.video_load <= 10)) {
    return invalid(absl::StrCat("video load must be 0 to 10; it is ", options.video_load));
  }
  if (options.video_segments < 1 || options.video_segments > kSegmentsMax) {
    return invalid(absl::StrCat("video segments must be 1 to ", kSegmentsMax, "; they are ",
                                options.video_segments));
  }
  if (!(options.deadline_slack >= 0.1 && options.deadline_slack <= 1000)) {
    return invalid(absl::StrCat("slo must be 0.1 to 1000; it is ", options.deadline_slack));
  }
  if (options.pictures < 1 || static_cast<size_t>(options.pictures) > kJobsMax / 2) {
    return invalid(
        absl::StrCat("pictures must be 1 to ", kJobsMax / 2, "; they are ", options.pictures));
  }
  return absl::OkStatus();
}

void Finish(WorkJob& job, int64_t arrival_ns, const VideoWorkloadOptions& options) {
  job.solo_ns = options.table.Nanos(job.milli_units) * job.steps;
  job.arrival_ns = arrival_ns;
  job.deadline_ns =
      arrival_ns +
      std::llround(options.deadline_slack * static_cast<double>(job.solo_ns) + kGraceNanos);
}

}  // namespace

absl::StatusOr<Workload> MakeVideoWorkload(const VideoWorkloadOptions& options, uint64_t seed) {
  if (const absl::Status status = Check(options); !status.ok()) return status;
  struct Shape {
    int32_t pixels;
    int64_t milli_units;
  };
  constexpr std::array<Shape, 4> kShapes = {{{512, 1000}, {512, 1000}, {768, 2250}, {1024, 4560}}};
  Random random(seed);
  Workload workload;
  workload.name = "W3";
  workload.gpus = options.gpus;
  workload.tenants = 8;
  workload.table = options.table;
  double mean_units = 0;
  for (const Shape& shape : kShapes) {
    mean_units += static_cast<double>(shape.milli_units) / 1000.0 / kShapes.size();
  }
  const double gap_ns =
      mean_units * kPictureSteps * kNanosPerUnit / (options.gpus * options.picture_load);
  double at_ns = 0;
  for (int i = 0; i < options.pictures; ++i) {
    at_ns += random.Exponential(gap_ns);
    const Shape& shape = kShapes[random.Below(kShapes.size())];
    WorkJob job;
    job.tenant = static_cast<uint32_t>(random.Below(workload.tenants));
    job.shape = shape.pixels;
    job.milli_units = shape.milli_units;
    job.steps = kPictureSteps;
    Finish(job, std::llround(at_ns), options);
    workload.jobs.push_back(job);
  }
  const double clip_units = static_cast<double>(kVideoMilliUnits) / 1000.0 * kVideoSteps;
  const double span_ns = at_ns;
  const double clip_gap_ns = options.video_load > 0
                                 ? clip_units * kNanosPerUnit / (options.gpus * options.video_load)
                                 : span_ns + 1;
  for (at_ns = random.Exponential(clip_gap_ns); at_ns < span_ns;
       at_ns += random.Exponential(clip_gap_ns)) {
    WorkJob job;
    job.tenant = static_cast<uint32_t>(random.Below(workload.tenants));
    job.model = 1;
    job.shape = kVideoShape;
    job.milli_units = kVideoMilliUnits;
    job.steps = kVideoSteps;
    job.segments = options.video_segments;
    Finish(job, std::llround(at_ns), options);
    workload.jobs.push_back(job);
  }
  std::stable_sort(workload.jobs.begin(), workload.jobs.end(),
                   [](const WorkJob& a, const WorkJob& b) { return a.arrival_ns < b.arrival_ns; });
  uint32_t request = 0;
  for (WorkJob& job : workload.jobs) job.request = request++;
  return workload;
}

}  // namespace darkroom::simulator
