#include "scheduler/event_check.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "scheduler/cost_error.h"
#include "scheduler/limits.h"

namespace darkroom::scheduler {
namespace {

absl::Status Invalid(std::string_view reason, std::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument, reason, what);
}

bool PositiveFinite(double value) { return std::isfinite(value) && value > 0; }

bool In(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

absl::Status Check(const TenantWeight& event) {
  if (PositiveFinite(event.weight)) return absl::OkStatus();
  return Invalid(
      "TENANT_WEIGHT_INVALID",
      absl::StrCat("a tenant's weight must be positive and finite; it is ", event.weight));
}

absl::Status Check(const TenantLimits& event) {
  if (event.jobs_max < 0 || event.running_max < 0) {
    return Invalid("TENANT_LIMITS_INVALID", "a tenant's numbers of jobs must be 0 (none) or more");
  }
  if (!std::isfinite(event.jobs_per_second) || event.jobs_per_second < 0 ||
      !PositiveFinite(event.jobs_burst) || event.jobs_burst < 1) {
    return Invalid("TENANT_LIMITS_INVALID",
                   "a tenant's rate must be 0 (none) or more, its burst 1 or more, both finite");
  }
  return absl::OkStatus();
}

absl::Status Check(const JobSubmitted& event) {
  const JobSpec& spec = event.spec;
  if (!In(spec.steps, 1, kStepsMax)) {
    return Invalid("JOB_INVALID",
                   absl::StrCat("steps must be 1 to ", kStepsMax, "; it is ", spec.steps));
  }
  if (!In(spec.segments, 1, kSegmentsMax)) {
    return Invalid("JOB_INVALID",
                   absl::StrCat("segments must be 1 to ", kSegmentsMax, "; it is ", spec.segments));
  }
  if (!In(spec.step_tokens, 1, kTokensMax) || !In(spec.image_tokens, 1, kTokensMax)) {
    return Invalid("JOB_INVALID", absl::StrCat("tokens must be 1 to ", kTokensMax));
  }
  if ((spec.stages & ~kAllStages) != 0 || (spec.stages & StageBit(Stage::kDenoise)) == 0) {
    return Invalid("JOB_INVALID", "a job's stages must be known ones and hold denoising");
  }
  return absl::OkStatus();
}

// What a replica says of its gang.
absl::Status CheckGang(const ReplicaSpec& spec) {
  if (!In(spec.gang_rank, 0, kGangMax - 1) || spec.degrees.size() > kDegreesMax) {
    return Invalid("REPLICA_INVALID",
                   absl::StrCat("a rank in a gang must be 0 to ", kGangMax - 1, ", of at most ",
                                kDegreesMax, " degrees; it is ", spec.gang_rank));
  }
  for (const DegreeCost& degree : spec.degrees) {
    const bool power = degree.degree > 0 && (degree.degree & (degree.degree - 1)) == 0;
    if (!power || !In(degree.degree, 2, kGangMax) || degree.cost.size() > kCostPointsMax) {
      return Invalid("REPLICA_INVALID", absl::StrCat("a degree must be a power of two from 2 to ",
                                                     kGangMax, ", with at most ", kCostPointsMax,
                                                     " costs; it is ", degree.degree));
    }
  }
  if (spec.gang < 0) return absl::OkStatus();
  if (spec.weights_bytes > 0) {
    return Invalid("GANG_INVALID",
                   absl::StrCat("a replica of a gang serves fixed weights: its memory for weights "
                                "must be 0 bytes; it is ",
                                spec.weights_bytes));
  }
  if (spec.revokes) {
    return Invalid("GANG_INVALID",
                   "a replica of a gang has no staged plan to take back: it must not revoke plans");
  }
  return absl::OkStatus();
}

absl::Status Check(const ReplicaAttached& event) {
  const ReplicaSpec& spec = event.spec;
  if (!In(spec.slots, 0, kSlotsMax)) {
    return Invalid("REPLICA_INVALID",
                   absl::StrCat("slots must be 0 to ", kSlotsMax, "; it is ", spec.slots));
  }
  if (!In(spec.step_tokens_max, 0, kTokensMax) || spec.quantum_ns_max < 0 ||
      spec.models.size() > kReplicaModelsMax || spec.cost.size() > kCostPointsMax) {
    return Invalid("REPLICA_INVALID", "a replica's token budget, quantum, models or costs");
  }
  if (!In(spec.weights_bytes, 0, kWeightsBytesMax) || !In(spec.adapter_ns, 0, kLoadNanosMax)) {
    return Invalid("REPLICA_INVALID",
                   absl::StrCat("a replica's memory for weights must be 0 (fixed) to ",
                                kWeightsBytesMax, " bytes, its adapters' cost 0 to ", kLoadNanosMax,
                                " ns; they are ", spec.weights_bytes, " and ", spec.adapter_ns));
  }
  return CheckGang(spec);
}

absl::Status Check(const WeightsKnown& event) {
  if (!In(event.bytes, 1, kWeightsBytesMax)) {
    return Invalid("WEIGHTS_INVALID", absl::StrCat("weights must be of 1 to ", kWeightsBytesMax,
                                                   " bytes; they are of ", event.bytes));
  }
  if (!In(event.load_ns, 1, kLoadNanosMax)) {
    return Invalid("WEIGHTS_INVALID", absl::StrCat("loading weights must take 1 to ", kLoadNanosMax,
                                                   " ns; it takes ", event.load_ns));
  }
  return absl::OkStatus();
}

absl::Status Check(const WeightsLoaded& event) {
  if (event.duration_ns >= 0) return absl::OkStatus();
  return Invalid("WEIGHTS_INVALID", absl::StrCat("loading weights must take 0 ns or more; it took ",
                                                 event.duration_ns));
}

absl::Status Check(const CostErrorKnown& event) {
  const bool good = event.counts.size() == CostError::kBuckets &&
                    std::all_of(event.counts.begin(), event.counts.end(),
                                [](int64_t count) { return In(count, 0, kCostErrorJobsMax); });
  if (good) return absl::OkStatus();
  return Invalid("COST_ERROR_INVALID",
                 absl::StrCat("there must be ", CostError::kBuckets, " counts of 0 to ",
                              kCostErrorJobsMax, " jobs; there are ", event.counts.size()));
}

template <typename T>
absl::Status Check(const T&) {
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckEvent(const Event& event) {
  return std::visit([](const auto& e) { return Check(e); }, event);
}

}  // namespace darkroom::scheduler
