#include "simulator/workload_tenants.h"

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
constexpr int32_t kSteps = 30;

constexpr uint32_t kSteady = 20;
constexpr uint32_t kBursty = 4;
constexpr double kOffNanos = 60e9;
constexpr double kOnNanos = 20e9;

constexpr uint32_t kWithAdapters = 30;
constexpr uint32_t kModels = 2;
constexpr double kThrashShare = 1.0 / 3;
constexpr int kRoom = 3;

constexpr uint32_t kTinyTenants = 5000;
constexpr uint32_t kLarge = 4;
constexpr double kTinyShare = 0.6;

struct Shape {
  int32_t pixels;
  int64_t milli_units;
};
constexpr std::array<Shape, 4> kShapes = {{{512, 1000}, {512, 1000}, {768, 2250}, {1024, 4560}}};

absl::Status Check(const TenantsWorkloadOptions& options) {
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
  if (options.pictures < 1 || static_cast<size_t>(options.pictures) > kJobsMax) {
    return invalid(
        absl::StrCat("pictures must be 1 to ", kJobsMax, "; they are ", options.pictures));
  }
  return absl::OkStatus();
}

class Maker {
 public:
  Maker(const TenantsWorkloadOptions& options, uint64_t seed) : options_(options), random_(seed) {
    double mean_units = 0;
    for (const Shape& shape : kShapes) {
      mean_units += static_cast<double>(shape.milli_units) / 1000.0 / kShapes.size();
    }
    gap_ns_ = mean_units * kSteps * kNanosPerUnit / (options.gpus * options.load);
  }

  Workload Make() {
    workload_.gpus = options_.gpus;
    workload_.table = options_.table;
    switch (options_.mix) {
      case TenantsWorkloadOptions::Mix::kOnOff:
        OnOff();
        break;
      case TenantsWorkloadOptions::Mix::kThrash:
        Thrash();
        break;
      case TenantsWorkloadOptions::Mix::kTiny:
        Tiny();
        break;
    }
    std::stable_sort(
        workload_.jobs.begin(), workload_.jobs.end(),
        [](const WorkJob& a, const WorkJob& b) { return a.arrival_ns < b.arrival_ns; });
    uint32_t request = 0;
    for (WorkJob& job : workload_.jobs) job.request = request++;
    return std::move(workload_);
  }

 private:
  WorkJob& Add(double at_ns, uint32_t tenant, bool hard) {
    const Shape& shape = kShapes[random_.Below(kShapes.size())];
    WorkJob job;
    job.tenant = tenant;
    job.flood = hard;
    job.shape = shape.pixels;
    job.milli_units = shape.milli_units;
    job.steps = kSteps;
    job.solo_ns = options_.table.Nanos(shape.milli_units) * kSteps;
    job.arrival_ns = std::llround(at_ns);
    job.deadline_ns =
        job.arrival_ns +
        std::llround(options_.deadline_slack * static_cast<double>(job.solo_ns) + kGraceNanos);
    return workload_.jobs.emplace_back(job);
  }

  void OnOff() {
    workload_.name = "W4 on-off";
    workload_.tenants = kSteady + kBursty;
    const double span_ns = gap_ns_ * options_.pictures;
    for (double at_ns = random_.Exponential(2 * gap_ns_); at_ns < span_ns;
         at_ns += random_.Exponential(2 * gap_ns_)) {
      Add(at_ns, static_cast<uint32_t>(random_.Below(kSteady)), false);
    }
    const double burst_gap_ns = 2 * gap_ns_ * kBursty * kOnNanos / (kOnNanos + kOffNanos);
    for (uint32_t tenant = kSteady; tenant < kSteady + kBursty; ++tenant) {
      double on_ns = random_.Uniform() * (kOnNanos + kOffNanos);
      while (on_ns < span_ns) {
        const double off_ns = on_ns + random_.Exponential(kOnNanos);
        for (double at_ns = on_ns + random_.Exponential(burst_gap_ns);
             at_ns < std::min(off_ns, span_ns); at_ns += random_.Exponential(burst_gap_ns)) {
          Add(at_ns, tenant, true);
        }
        on_ns = off_ns + random_.Exponential(kOffNanos);
      }
    }
  }

  void Thrash() {
    workload_.name = "W4 adapter thrash";
    workload_.tenants = kWithAdapters + 1;
    workload_.gpu_models = kRoom;
    uint32_t last_adapter = 2 * kWithAdapters;
    double at_ns = 0;
    for (int i = 0; i < options_.pictures; ++i) {
      at_ns += random_.Exponential(gap_ns_);
      const bool thrashes = random_.Chance(kThrashShare);
      const auto tenant =
          thrashes ? kWithAdapters : static_cast<uint32_t>(random_.Below(kWithAdapters));
      WorkJob& job = Add(at_ns, tenant, thrashes);
      job.model = thrashes ? static_cast<uint32_t>(random_.Below(kModels)) : tenant % kModels;
      job.adapter =
          thrashes ? ++last_adapter : 1 + 2 * tenant + static_cast<uint32_t>(random_.Below(2));
    }
  }

  void Tiny() {
    workload_.name = "W4 tiny tenants";
    workload_.tenants = kTinyTenants + kLarge;
    double at_ns = 0;
    for (int i = 0; i < options_.pictures; ++i) {
      at_ns += random_.Exponential(gap_ns_);
      const bool tiny = random_.Chance(kTinyShare);
      const auto tenant = static_cast<uint32_t>(tiny ? random_.Below(kTinyTenants)
                                                     : kTinyTenants + random_.Below(kLarge));
      Add(at_ns, tenant, !tiny);
    }
  }

  const TenantsWorkloadOptions& options_;
  Random random_;
  double gap_ns_ = 0;  // between two pictures of whoever
  Workload workload_;
};

}  // namespace

absl::StatusOr<Workload> MakeTenantsWorkload(const TenantsWorkloadOptions& options, uint64_t seed) {
  if (const absl::Status status = Check(options); !status.ok()) return status;
  return Maker(options, seed).Make();
}

}  // namespace darkroom::simulator
