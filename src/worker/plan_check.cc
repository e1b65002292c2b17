#include "worker/plan_check.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/denoise_steps.h"
#include "base/error.h"
#include "worker/limits.h"

namespace darkroom {
namespace {

absl::Status Invalid(std::string_view reason, const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message);
}

// Written so that NaN is outside.
bool Within(double value, double low, double high) { return value >= low && value <= high; }

// A u8 tensor of exactly this shape.
absl::Status CheckInput(const v1::TensorRef& ref, std::initializer_list<int64_t> shape,
                        std::string_view name) {
  if (ref.dtype() == v1::DTYPE_U8 &&
      std::equal(ref.shape().begin(), ref.shape().end(), shape.begin(), shape.end())) {
    return absl::OkStatus();
  }
  return Invalid("INPUT_SIZE_INVALID",
                 absl::StrCat(std::string(name), " must be u8 [", absl::StrJoin(shape, ", "),
                              "], the size of the output"));
}

absl::Status CheckInputs(const v1::OpenSlot& request) {
  if (!request.has_init_image()) {
    if (!request.has_mask()) return absl::OkStatus();
    return Invalid("MASK_WITHOUT_INIT", "a mask needs a picture to start from");
  }
  if (request.width() > kSlotInputSideMax || request.height() > kSlotInputSideMax) {
    return Invalid("INPUT_SIZE_INVALID",
                   absl::StrCat("a picture's sides are at most ", kSlotInputSideMax, " pixels"));
  }
  absl::Status status =
      CheckInput(request.init_image(), {request.height(), request.width(), 3}, "init_image");
  if (status.ok() && request.has_mask()) {
    status = CheckInput(request.mask(), {request.height(), request.width()}, "mask");
  }
  if (!status.ok()) return status;
  if (!Within(request.strength(), 0, 1)) {
    return Invalid("STRENGTH_OUT_OF_RANGE", "strength must be 0 to 1");
  }
  if (SlotEvaluations(request) < 1) {
    return Invalid("STRENGTH_LEAVES_NO_STEP",
                   absl::StrCat("strength ", request.strength(), " leaves none of ",
                                request.steps(), " steps to run"));
  }
  return absl::OkStatus();
}

absl::Status CheckGuidance(const v1::OpenSlot& request) {
  if (!Within(request.guidance_scale(), 1, 30)) {
    return Invalid("GUIDANCE_SCALE_OUT_OF_RANGE", "guidance_scale must be 1 to 30");
  }
  if (request.true_cfg_scale() != 0 && !Within(request.true_cfg_scale(), 1, 30)) {
    return Invalid("TRUE_CFG_SCALE_OUT_OF_RANGE", "true_cfg_scale must be 1 to 30, or 0 for none");
  }
  return absl::OkStatus();
}

absl::Status CheckPrompts(const v1::OpenSlot& request) {
  for (const std::string* prompt : {&request.prompt(), &request.negative_prompt()}) {
    if (prompt->size() > kSlotPromptBytesMax) {
      return Invalid("PROMPT_TOO_LONG",
                     absl::StrCat("a prompt has ", prompt->size(), " bytes; at most ",
                                  kSlotPromptBytesMax, " are allowed"));
    }
  }
  if (request.max_sequence_length() < 0) {
    return Invalid("SEQUENCE_LENGTH_OUT_OF_RANGE", "max_sequence_length must be 0 or more");
  }
  return absl::OkStatus();
}

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

// Where the step goes on, and what may come back from there.
absl::Status CheckBlocks(const v1::BatchPlan& plan, const v1::PlanJob& job, const Lease& lease,
                         int32_t blocks) {
  const PlanBlocks run = BlocksOf(plan, blocks);
  if (run.last > blocks) {
    return Invalid("SEGMENTS_INVALID", absl::StrCat("blocks ", run.first, " to ", run.last,
                                                    " of a model that has ", blocks));
  }
  if (run.first != lease.next_block) {
    return Invalid("SEGMENTS_OUT_OF_ORDER",
                   absl::StrCat("step ", job.step_index(), " cannot go on from block ", run.first,
                                "; ", lease.next_block, " of ", blocks, " are done"));
  }
  if (run.last < blocks && (job.returns().preview() || job.returns().checkpoint())) {
    return Invalid("RETURNS_INSIDE_STEP",
                   "a plan that ends inside a step has neither preview nor checkpoint");
  }
  return absl::OkStatus();
}

absl::Status CheckStage(const v1::BatchPlan& plan, const v1::PlanJob& job, const Lease& lease,
                        int32_t blocks) {
  switch (plan.stage()) {
    case v1::STAGE_ENCODE:
      if (lease.next_step != lease.first_step || lease.next_block > 0) {
        return Invalid("STAGE_OUT_OF_ORDER", "the conditioning was encoded before the first step");
      }
      return absl::OkStatus();
    case v1::STAGE_IMAGE_ENCODE:
      if (!lease.has_image) {
        return Invalid("IMAGE_MISSING", "the slot was opened without a picture to encode");
      }
      if (lease.next_step != lease.first_step || lease.next_block > 0) {
        return Invalid("STAGE_OUT_OF_ORDER", "the picture was encoded before the first step");
      }
      return absl::OkStatus();
    case v1::STAGE_DENOISE:
      if (lease.has_image && !lease.image_encoded) {
        return Invalid("STAGE_OUT_OF_ORDER", "the picture must be encoded before the first step");
      }
      if (job.step_index() != lease.next_step || job.step_index() >= lease.steps) {
        return Invalid("STEP_OUT_OF_ORDER",
                       absl::StrCat("step ", job.step_index(), " cannot run; ", lease.next_step,
                                    " of ", lease.steps, " are done"));
      }
      return CheckBlocks(plan, job, lease, blocks);
    case v1::STAGE_DECODE:
      if (lease.next_step != lease.steps) {
        return Invalid("STAGE_OUT_OF_ORDER", absl::StrCat("cannot decode: ", lease.next_step,
                                                          " of ", lease.steps, " steps are done"));
      }
      return absl::OkStatus();
    default:
      return Invalid("STAGE_UNKNOWN", "a worker runs encode, image encode, denoise and decode");
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
  if (job.returns().preview() &&
      !Within(job.returns().preview_size_max(), kPreviewSideMin, kPreviewSideMax)) {
    return Invalid("PREVIEW_SIZE_OUT_OF_RANGE",
                   absl::StrCat("preview_size_max is ", job.returns().preview_size_max(),
                                "; it must be ", kPreviewSideMin, " to ", kPreviewSideMax));
  }
  return CheckAdapters(job.adapters());
}

}  // namespace

int SlotEvaluations(const v1::OpenSlot& request) {
  const double strength = request.has_init_image() ? request.strength() : 1;
  return DenoiseEvaluations(request.sampler(), request.steps(), strength);
}

absl::Status CheckOpenSlot(const v1::OpenSlot& request) {
  if (request.steps() < 1 || request.steps() > kSlotStepsMax) {
    return Invalid("STEPS_OUT_OF_RANGE",
                   absl::StrCat("steps is ", request.steps(), "; it must be 1 to ", kSlotStepsMax));
  }
  if (request.width() < 1 || request.height() < 1) {
    return Invalid("SIZE_OUT_OF_RANGE", absl::StrCat("a picture of ", request.width(), " by ",
                                                     request.height(), " pixels has no area"));
  }
  if (request.seed() < 0) return Invalid("SEED_OUT_OF_RANGE", "seed must be 0 or more");
  if (request.noise_dtype() != v1::DTYPE_UNSPECIFIED && request.noise_dtype() != v1::DTYPE_F32 &&
      request.noise_dtype() != v1::DTYPE_BF16) {
    return Invalid("NOISE_DTYPE_UNKNOWN", "noise is drawn in f32 or bf16");
  }
  if (absl::Status status = CheckGuidance(request); !status.ok()) return status;
  if (absl::Status status = CheckPrompts(request); !status.ok()) return status;
  if (absl::Status status = CheckInputs(request); !status.ok()) return status;
  if (request.has_checkpoint()) {
    const int32_t step = request.checkpoint().step();
    if (step < 0 || step > SlotEvaluations(request)) {
      return Invalid("CHECKPOINT_INVALID", absl::StrCat("a checkpoint of step ", step,
                                                        " in a job of ", SlotEvaluations(request)));
    }
  }
  return CheckAdapters(request.adapters());
}

absl::Status CheckPlan(const v1::BatchPlan& plan) {
  if (plan.stage() != v1::STAGE_ENCODE && plan.stage() != v1::STAGE_IMAGE_ENCODE &&
      plan.stage() != v1::STAGE_DENOISE && plan.stage() != v1::STAGE_DECODE) {
    return Invalid("STAGE_UNKNOWN", "a worker runs encode, image encode, denoise and decode");
  }
  const v1::SegmentRange& segments = plan.segments();
  if (segments.first() == 0 && segments.last() == 0) return absl::OkStatus();
  if (plan.stage() != v1::STAGE_DENOISE) {
    return Invalid("SEGMENTS_INVALID", "only denoising steps have segments");
  }
  if (segments.first() < 0 || segments.first() >= segments.last()) {
    return Invalid("SEGMENTS_INVALID", absl::StrCat("segments ", segments.first(), " to ",
                                                    segments.last(), " are no part of a step"));
  }
  return absl::OkStatus();
}

PlanBlocks BlocksOf(const v1::BatchPlan& plan, int32_t blocks) {
  const v1::SegmentRange& segments = plan.segments();
  if (segments.first() == 0 && segments.last() == 0) return {0, blocks};
  return {segments.first(), segments.last()};
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

absl::Status CheckEntry(const v1::BatchPlan& plan, absl::Span<const PlanEntry> entries, int index,
                        int32_t blocks) {
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
  return CheckStage(plan, job, lease, blocks);
}

}  // namespace darkroom
