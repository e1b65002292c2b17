#include "simulator/workload_edits.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "simulator/limits.h"
#include "simulator/random.h"

namespace darkroom::simulator {
namespace {

constexpr double kTextTokens = 512;
constexpr double kImageTokens = 4096;
// Of the products: keys and values are made for all tokens, whatever the mask.
constexpr double kAllTokensShare = 0.12;
// A whole 1024x1024 picture in units of 512x512, as in W2.
constexpr double kWholeMilliUnits = 3635;
constexpr int32_t kSteps = 28;
constexpr uint32_t kTenants = 8;
constexpr double kGraceNanos = 0.5e9;
constexpr double kMaskMeanMin = 0.01;

absl::Status Check(const EditsWorkloadOptions& options) {
  const auto invalid = [](std::string_view what) {
    return Error(absl::StatusCode::kInvalidArgument, "WORKLOAD_INVALID", what);
  };
  if (options.gpus < 1 || options.gpus > kGpusMax) {
    return invalid(absl::StrCat("gpus must be 1 to ", kGpusMax, "; it is ", options.gpus));
  }
  // Written so that NaN fails.
  if (!(options.load >= 0.01 && options.load <= 10)) {
    return invalid(absl::StrCat("load must be 0.01 to 10; it is ", options.load));
  }
  if (!(options.deadline_slack >= 0.1 && options.deadline_slack <= 1000)) {
    return invalid(absl::StrCat("slo must be 0.1 to 1000; it is ", options.deadline_slack));
  }
  if (!(options.edit_share >= 0 && options.edit_share <= 1)) {
    return invalid(absl::StrCat("edits must be 0 to 1 of all; they are ", options.edit_share));
  }
  if (!(options.mask_mean >= kMaskMeanMin && options.mask_mean < 1)) {
    return invalid(absl::StrCat("mask mean must be ", kMaskMeanMin, " or more and below 1; it is ",
                                options.mask_mean));
  }
  if (options.pictures < 1 || static_cast<size_t>(options.pictures) > kJobsMax) {
    return invalid(
        absl::StrCat("pictures must be 1 to ", kJobsMax, "; they are ", options.pictures));
  }
  return absl::OkStatus();
}

}  // namespace

double EditWork(double mask_share) {
  const double rows = kTextTokens + kImageTokens * mask_share;
  return kAllTokensShare + (1 - kAllTokensShare) * rows / (kTextTokens + kImageTokens);
}

absl::StatusOr<Workload> MakeEditsWorkload(const EditsWorkloadOptions& options, uint64_t seed) {
  if (const absl::Status status = Check(options); !status.ok()) return status;
  Random random(seed);
  Workload workload;
  workload.name = "W5";
  workload.gpus = options.gpus;
  workload.tenants = kTenants;
  workload.table = StepTable::FluxH100(StepTable::kEagerSlowness, 1);
  // At the rate of the largest batches, what an edit and a whole picture take on the average.
  const auto unit_ns =
      static_cast<double>(workload.table.Nanos(20'000) - workload.table.Nanos(10'000)) / 10;
  const double mean_work =
      options.edit_share * EditWork(options.mask_mean) + (1 - options.edit_share);
  const double gap_ns =
      unit_ns * kWholeMilliUnits / 1000 * mean_work * kSteps / (options.gpus * options.load);
  double at_ns = 0;
  for (int i = 0; i < options.pictures; ++i) {
    at_ns += random.Exponential(gap_ns);
    // Beta(1, b): the distribution function is 1 - (1 - m)^b.
    const double b = 1 / options.mask_mean - 1;
    const double drawn = 1 - std::pow(1 - random.Uniform(), 1 / b);
    const double mask = random.Chance(options.edit_share) ? drawn : 1.0;
    WorkJob job;
    job.request = static_cast<uint32_t>(i);
    job.tenant = static_cast<uint32_t>(random.Below(kTenants));
    job.shape = *std::lower_bound(std::begin(kEditShapes), std::prev(std::end(kEditShapes)),
                                  static_cast<int32_t>(std::ceil(mask * 100)));
    job.milli_units = std::llround(kWholeMilliUnits * EditWork(mask));
    job.steps = kSteps;
    job.solo_ns = workload.table.Nanos(job.milli_units) * kSteps;
    job.arrival_ns = std::llround(at_ns);
    job.deadline_ns =
        job.arrival_ns +
        std::llround(options.deadline_slack * static_cast<double>(job.solo_ns) + kGraceNanos);
    workload.jobs.push_back(job);
  }
  return workload;
}

}  // namespace darkroom::simulator
