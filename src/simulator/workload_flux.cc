#include "simulator/workload_flux.h"

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "simulator/limits.h"
#include "simulator/random.h"

namespace darkroom::simulator {
namespace {

constexpr double kRatePerMinuteMax = 1e6;
// Not in the paper: with 28 steps and the step table the degrees that it found best per resolution
// (1, 1, 2 and 8) are those that meet its deadlines; with 50 no degree would at 2048x2048.
constexpr int32_t kSteps = 28;
constexpr uint32_t kTenants = 8;

struct Shape {
  int32_t pixels;
  int64_t milli_units;  // by the paper's table 1: 556, 1388, 5046 and 24965 TFLOP a picture
  double latent_tokens;
  double deadline_s;
};
constexpr std::array<Shape, 4> kShapes = {{{256, 400, 256, 1.5},
                                           {512, 1000, 1024, 2.0},
                                           {1024, 3635, 4096, 3.0},
                                           {2048, 17'983, 16'384, 5.0}}};

absl::Status Check(const FluxWorkloadOptions& options) {
  const auto invalid = [](std::string_view what) {
    return Error(absl::StatusCode::kInvalidArgument, "WORKLOAD_INVALID", what);
  };
  if (options.gpus < 1 || options.gpus > kGpusMax) {
    return invalid(absl::StrCat("gpus must be 1 to ", kGpusMax, "; it is ", options.gpus));
  }
  // Written so that NaN fails.
  if (!(options.requests_per_minute >= 0.01 && options.requests_per_minute <= kRatePerMinuteMax)) {
    return invalid(absl::StrCat("rate must be 0.01 to ", kRatePerMinuteMax, " a minute; it is ",
                                options.requests_per_minute));
  }
  if (!(options.slo_scale >= 0.1 && options.slo_scale <= 1000)) {
    return invalid(absl::StrCat("slo scale must be 0.1 to 1000; it is ", options.slo_scale));
  }
  if (options.requests < 1 || static_cast<size_t>(options.requests) > kJobsMax) {
    return invalid(
        absl::StrCat("requests must be 1 to ", kJobsMax, "; they are ", options.requests));
  }
  return absl::OkStatus();
}

const Shape& Draw(bool skewed, Random& random) {
  if (!skewed) return kShapes[random.Below(kShapes.size())];
  double sum = 0;
  for (const Shape& shape : kShapes) {
    sum += std::exp(shape.latent_tokens / kShapes.back().latent_tokens);
  }
  double left = random.Uniform() * sum;
  for (const Shape& shape : kShapes) {
    left -= std::exp(shape.latent_tokens / kShapes.back().latent_tokens);
    if (left < 0) return shape;
  }
  return kShapes.back();
}

}  // namespace

absl::StatusOr<Workload> MakeFluxWorkload(const FluxWorkloadOptions& options, uint64_t seed) {
  if (const absl::Status status = Check(options); !status.ok()) return status;
  Random random(seed);
  Workload workload;
  workload.name = options.skewed ? "W2 skewed" : "W2 uniform";
  workload.gpus = options.gpus;
  workload.tenants = kTenants;
  workload.table = options.table;
  const double gap_ns = 60e9 / options.requests_per_minute;
  double at_ns = 0;
  for (int i = 0; i < options.requests; ++i) {
    at_ns += random.Exponential(gap_ns);
    const Shape& shape = Draw(options.skewed, random);
    WorkJob job;
    job.request = static_cast<uint32_t>(i);
    job.tenant = static_cast<uint32_t>(random.Below(kTenants));
    job.shape = shape.pixels;
    job.milli_units = shape.milli_units;
    job.steps = kSteps;
    job.arrival_ns = std::llround(at_ns);
    job.deadline_ns = job.arrival_ns + std::llround(shape.deadline_s * options.slo_scale * 1e9);
    job.solo_ns = job.steps * options.table.FastestNanos(job.milli_units, options.gpus);
    workload.jobs.push_back(job);
  }
  return workload;
}

}  // namespace darkroom::simulator
