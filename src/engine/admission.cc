#include "engine/admission.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/wall_time.h"
#include "engine/limits.h"

namespace darkroom::engine {
namespace {

using scheduler::Refusal;
using scheduler::ServiceClass;

absl::Time WallOf(int64_t mono_ns, Now now) {
  return now.wall + absl::Nanoseconds(mono_ns - now.mono_ns);
}

std::string Shown(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

absl::Status WithOffer(absl::Status status, const scheduler::JobRefused& refused, Now now) {
  v1::AdmissionOffer offer;
  if (refused.offered_deadline_ns != scheduler::kNoDeadline) {
    *offer.mutable_earliest_deadline() = ToTimestamp(WallOf(refused.offered_deadline_ns, now));
  }
  offer.set_steps_max(refused.offered_steps);
  status.SetPayload(absl::StrCat("type.googleapis.com/", offer.GetTypeName()),
                    absl::Cord(offer.SerializeAsString()));
  return status;
}

// "; the earliest possible is ..., or at most 12 steps"
std::string OfferText(const scheduler::JobRefused& refused, Now now) {
  std::string text;
  if (refused.offered_deadline_ns != scheduler::kNoDeadline) {
    absl::StrAppend(&text, "; the earliest that would be accepted now is ",
                    Shown(WallOf(refused.offered_deadline_ns, now)));
  }
  if (refused.offered_steps > 0) {
    absl::StrAppend(&text, text.empty() ? "; " : ", or ", "at most ", refused.offered_steps,
                    " steps can be done by then");
  }
  return text;
}

absl::Status NoGuarantee(const scheduler::JobRefused& refused, int64_t deadline_ns, Now now) {
  // By then as much more of what was promised before is done.
  int64_t wait_ns = kRetryNoGuaranteeNs;
  if (refused.offered_deadline_ns != scheduler::kNoDeadline &&
      deadline_ns != scheduler::kNoDeadline) {
    wait_ns = std::max(wait_ns, refused.offered_deadline_ns - deadline_ns);
  }
  const absl::Status status =
      Error(absl::StatusCode::kResourceExhausted, "NO_GUARANTEE",
            absl::StrCat("this deadline cannot be guaranteed beside what was promised before",
                         OfferText(refused, now)))
          .Field("deadline", absl::StrCat("must be later", OfferText(refused, now)))
          .RetryAfter(absl::Nanoseconds(wait_ns));
  return WithOffer(status, refused, now);
}

absl::Status Overloaded(const scheduler::JobRefused& refused) {
  const int64_t wait_ns = std::max(kRetryQueueFullNs, refused.retry_after_ns);
  return Error(absl::StatusCode::kResourceExhausted, "OVERLOADED",
               "the server holds as many pictures as it can; try again when some are done")
      .RetryAfter(absl::Nanoseconds(wait_ns));
}

}  // namespace

absl::Status Draining() {
  return Error(absl::StatusCode::kUnavailable, "DRAINING",
               "the server is shutting down; call another or try again soon")
      .RetryAfter(absl::Seconds(1));
}

absl::Status TenantDeleted() {
  return Error(absl::StatusCode::kFailedPrecondition, "TENANT_DELETED",
               "the tenant was deleted with all that it had");
}

absl::Status StoreBroken() {
  return Error(absl::StatusCode::kUnavailable, "STORE_BROKEN",
               "the server cannot write its store and accepts nothing until it is restarted")
      .RetryAfter(absl::Seconds(5));
}

ServiceClass ClassOf(const v1::GenerateRequest& request, const TenantPolicy& policy) {
  switch (request.service_class()) {
    case v1::SERVICE_CLASS_GUARANTEED:
      return ServiceClass::kGuaranteed;
    case v1::SERVICE_CLASS_TARGET:
      return ServiceClass::kTarget;
    case v1::SERVICE_CLASS_BEST_EFFORT:
      return ServiceClass::kBestEffort;
    default:
      return policy.service_class;
  }
}

absl::Status CheckClass(const v1::GenerateRequest& request, const TenantPolicy& policy) {
  // In the order of the enumeration, the strongest first.
  if (ClassOf(request, policy) >= policy.service_class) return absl::OkStatus();
  const std::string rule =
      policy.service_class == ServiceClass::kBestEffort
          ? "must be SERVICE_CLASS_BEST_EFFORT, or unset"
          : "must be SERVICE_CLASS_TARGET or SERVICE_CLASS_BEST_EFFORT, or unset";
  return Error(absl::StatusCode::kPermissionDenied, "SERVICE_CLASS_NOT_ALLOWED",
               absl::StrCat("service_class is more than this tenant may ask for; it ", rule))
      .Field("service_class", rule);
}

int64_t DeadlineOf(const v1::GenerateRequest& request, Now now) {
  if (!request.has_deadline()) return scheduler::kNoDeadline;
  return now.mono_ns + absl::ToInt64Nanoseconds(FromTimestamp(request.deadline()) - now.wall);
}

absl::Status RefusalStatus(const scheduler::JobRefused& refused, int64_t deadline_ns, Now now) {
  switch (refused.why) {
    case Refusal::kDeadlinePassed:
      return Error(absl::StatusCode::kInvalidArgument, "DEADLINE_PASSED",
                   absl::StrCat("deadline is in the past; it must be after ", Shown(now.wall)))
          .Field("deadline", "must be in the future");
    case Refusal::kDeadlineTooSoon:
      return WithOffer(
          Error(absl::StatusCode::kFailedPrecondition, "DEADLINE_TOO_SOON",
                absl::StrCat("this deadline is out of reach even on an idle worker",
                             OfferText(refused, now)))
              .Field("deadline", absl::StrCat("must be later", OfferText(refused, now))),
          refused, now);
    case Refusal::kNoGuarantee:
      return NoGuarantee(refused, deadline_ns, now);
    case Refusal::kInvalid:
      return Error(absl::StatusCode::kInternal, "JOB_INVALID",
                   "the server made a job of this request that its scheduler does not take");
    case Refusal::kTenantJobsFull:
    case Refusal::kTenantRate:
    case Refusal::kOverload:
    case Refusal::kTenantRemoved:
      break;
  }
  return Overloaded(refused);
}

v1::Forecast ForecastToProto(const scheduler::Forecast& forecast, Now now) {
  using Wait = scheduler::Forecast::Wait;
  v1::Forecast out;
  if (forecast.start_ns != scheduler::kNoDeadline) {
    *out.mutable_start_time() = ToTimestamp(WallOf(forecast.start_ns, now));
  }
  if (forecast.end_ns != scheduler::kNoDeadline) {
    *out.mutable_end_time() = ToTimestamp(WallOf(forecast.end_ns, now));
  }
  switch (forecast.wait) {
    case Wait::kNone:
      out.set_wait_reason(v1::WAIT_REASON_NONE);
      break;
    case Wait::kNoReplica:
      out.set_wait_reason(v1::WAIT_REASON_MODEL_LOADING);
      break;
    case Wait::kCapacity:
      out.set_wait_reason(v1::WAIT_REASON_CAPACITY);
      break;
    case Wait::kTenantLimit:
      out.set_wait_reason(v1::WAIT_REASON_TENANT_LIMIT);
      break;
    case Wait::kLate:
      out.set_wait_reason(v1::WAIT_REASON_LATE);
      break;
  }
  return out;
}

}  // namespace darkroom::engine
