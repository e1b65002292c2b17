#include "worker/plan_check.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "worker/limits.h"

namespace darkroom {
namespace {

absl::Status Invalid(std::string_view reason, const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message);
}

// Written so that NaN is outside.
bool Within(double value, double low, double high) { return value >= low && value <= high; }

absl::Status CheckAdapters(const google::protobuf::RepeatedPtrField<v1::AdapterUse>& adapters) {
  if (adapters.size() > kJobAdaptersMax) {
    return Invalid("ADAPTERS_TOO_MANY", absl::StrCat(adapters.size(), " adapters; at most ",
                                                     kJobAdaptersMax, " are allowed"));
  }
  for (const v1::AdapterUse& adapter : adapters) {
    if (!std::isfinite(adapter.weight())) {
      return Invalid("ADAPTER_WEIGHT_INVALID", "an adapter's weight must be finite");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckStage(const v1::BatchPlan& plan, const v1::PlanJob& job, const Lease& lease) {
  switch (plan.stage()) {
    case v1::STAGE_ENCODE:
      if (lease.next_step != lease.first_step) {
        return Invalid("STAGE_OUT_OF_ORDER", "the conditioning was encoded before the first step");
      }
      return absl::OkStatus();
    case v1::STAGE_DENOISE:
      if (job.step_index() != lease.next_step || job.step_index() >= lease.steps) {
        return Invalid("STEP_OUT_OF_ORDER",
                       absl::StrCat("step ", job.step_index(), " cannot run; ", lease.next_step,
                                    " of ", lease.steps, " are done"));
      }
      return absl::OkStatus();
    case v1::STAGE_DECODE:
      if (lease.next_step != lease.steps) {
        return Invalid("STAGE_OUT_OF_ORDER", absl::StrCat("cannot decode: ", lease.next_step,
                                                          " of ", lease.steps, " steps are done"));
      }
      return absl::OkStatus();
    default:
      return Invalid("STAGE_UNKNOWN", "a worker runs encode, denoise and decode");
  }
}

absl::Status CheckNumbers(const v1::PlanJob& job) {
  if (job.sigmas_size() != 0 && job.sigmas_size() != 2) {
    return Invalid("SIGMAS_INVALID", "sigmas are none or two: now and next");
  }
  for (const double sigma : job.sigmas()) {
    if (!std::isfinite(sigma)) return Invalid("SIGMAS_INVALID", "sigmas must be finite");
  }
  if (job.guidance_scale() != 0 && !Within(job.guidance_scale(), 1, 30)) {
    return Invalid("GUIDANCE_SCALE_OUT_OF_RANGE",
                   "guidance_scale must be 1 to 30, or 0 to keep "
                   "the slot's");
  }
  return CheckAdapters(job.adapters());
}

}  // namespace

absl::Status CheckOpenSlot(const v1::OpenSlot& request) {
  if (request.steps() < 1 || request.steps() > kSlotStepsMax) {
    return Invalid("STEPS_OUT_OF_RANGE",
                   absl::StrCat("steps is ", request.steps(), "; it must be 1 to ", kSlotStepsMax));
  }
  if (request.width() < 1 || request.height() < 1) {
    return Invalid("SIZE_OUT_OF_RANGE", absl::StrCat("a picture of ", request.width(), " by ",
                                                     request.height(), " pixels has no area"));
  }
  if (!Within(request.guidance_scale(), 1, 30)) {
    return Invalid("GUIDANCE_SCALE_OUT_OF_RANGE", "guidance_scale must be 1 to 30");
  }
  if (request.seed() < 0) return Invalid("SEED_OUT_OF_RANGE", "seed must be 0 or more");
  if (request.prompt().size() > kSlotPromptBytesMax) {
    return Invalid("PROMPT_TOO_LONG",
                   absl::StrCat("prompt has ", request.prompt().size(), " bytes; at most ",
                                kSlotPromptBytesMax, " are allowed"));
  }
  if (request.has_checkpoint()) {
    const int32_t step = request.checkpoint().step();
    if (step < 0 || step > request.steps()) {
      return Invalid("CHECKPOINT_INVALID",
                     absl::StrCat("a checkpoint of step ", step, " in a job of ", request.steps()));
    }
  }
  return CheckAdapters(request.adapters());
}

absl::Status CheckPlan(const v1::BatchPlan& plan) {
  if (plan.stage() != v1::STAGE_ENCODE && plan.stage() != v1::STAGE_DENOISE &&
      plan.stage() != v1::STAGE_DECODE) {
    return Invalid("STAGE_UNKNOWN", "a worker runs encode, denoise and decode");
  }
  if (plan.segments().first() != 0 || plan.segments().last() != 0) {
    return Error(absl::StatusCode::kUnimplemented, "SEGMENTS_UNSUPPORTED",
                 "this worker runs whole steps only");
  }
  return absl::OkStatus();
}

absl::Status PlanOrder::Check(const v1::BatchPlan& plan) {
  const bool later = !any_ || plan.gang_epoch() > gang_epoch_ ||
                     (plan.gang_epoch() == gang_epoch_ && plan.sequence() > sequence_);
  if (!later) {
    return Invalid("PLAN_OUT_OF_ORDER",
                   absl::StrCat("plan ", plan.gang_epoch(), "/", plan.sequence(), " came after ",
                                gang_epoch_, "/", sequence_));
  }
  any_ = true;
  gang_epoch_ = plan.gang_epoch();
  sequence_ = plan.sequence();
  return absl::OkStatus();
}

absl::Status CheckEntry(const v1::BatchPlan& plan, absl::Span<const PlanEntry> entries, int index) {
  const v1::PlanJob& job = plan.jobs(index);
  const Lease& lease = *entries[index].lease;
  if (!lease.open) {
    return Error(absl::StatusCode::kFailedPrecondition, "SLOT_NOT_OPEN",
                 absl::StrCat("slot ", job.slot(), " was not opened"));
  }
  for (int other = 0; other < index; ++other) {
    if (entries[other].lease.get() == &lease) {
      return Invalid("SLOT_TWICE", absl::StrCat("slot ", job.slot(), " is twice in one plan"));
    }
  }
  // Isolation is the scheduler's promise; a worker that sees it broken does not run the entry.
  if (job.isolation() == v1::ISOLATION_LEVEL_EXCLUSIVE_BATCH ||
      job.isolation() == v1::ISOLATION_LEVEL_DEDICATED) {
    for (const PlanEntry& other : entries) {
      if (other.lease != nullptr && other.lease->tenant_tag != lease.tenant_tag) {
        return Invalid("ISOLATION_BROKEN", "the job asks for a batch of its own tenant alone");
      }
    }
  }
  if (job.cfg_branch() != v1::CFG_BRANCH_UNSPECIFIED) {
    return Error(absl::StatusCode::kUnimplemented, "CFG_BRANCH_UNSUPPORTED",
                 "this worker runs both guidance branches together");
  }
  if (absl::Status status = CheckNumbers(job); !status.ok()) return status;
  return CheckStage(plan, job, lease);
}

}  // namespace darkroom
