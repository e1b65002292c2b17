#include "model/slot_request.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/denoise_steps.h"
#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

absl::Status CheckSize(const v1::Model::Limits& limits, const std::string& field, int size) {
  const int multiple = limits.size_multiple_of();
  if (size >= limits.size_min() && size <= limits.size_max() && size % multiple == 0) {
    return absl::OkStatus();
  }
  const int bounded = std::clamp(size, limits.size_min(), limits.size_max());
  const int nearest = std::clamp((bounded + multiple / 2) / multiple * multiple, limits.size_min(),
                                 limits.size_max());
  return OutOfRange(
      "SIZE_UNSUPPORTED", field,
      absl::StrCat("is ", size, "; it must be a multiple of ", multiple, " from ",
                   limits.size_min(), " to ", limits.size_max(), "; nearest: ", nearest));
}

absl::Status CheckInputs(const v1::OpenSlot& request, const JobInputs& inputs,
                         bool takes_pictures) {
  const auto pixels = static_cast<size_t>(request.width()) * static_cast<size_t>(request.height());
  if (inputs.init_image.empty()) {
    if (inputs.mask.empty()) return absl::OkStatus();
    return OutOfRange("MASK_WITHOUT_INIT", "inputs", "a mask needs a picture to start from");
  }
  if (!takes_pictures) {
    return Unsupported("INPUTS_UNSUPPORTED", "this model takes no pictures");
  }
  if (inputs.init_image.size() != pixels * size_t{3} ||
      (!inputs.mask.empty() && inputs.mask.size() != pixels)) {
    return OutOfRange("INPUT_SIZE_INVALID", "inputs", "must have the size of the output");
  }
  if (!(request.strength() >= 0 && request.strength() <= 1)) {
    return OutOfRange("STRENGTH_OUT_OF_RANGE", "sampling.strength", "must be 0 to 1");
  }
  if (SkippedSteps(request.steps(), request.strength()) >= request.steps()) {
    return OutOfRange("STRENGTH_LEAVES_NO_STEP", "sampling.strength",
                      absl::StrCat("leaves none of ", request.steps(),
                                   " steps; nearest: ", 1.0 / request.steps()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status OutOfRange(std::string_view reason, const std::string& field,
                        const std::string& problem) {
  return Error(absl::StatusCode::kInvalidArgument, reason, absl::StrCat(field, " ", problem))
      .Field(field, problem);
}

absl::Status Unsupported(std::string_view reason, std::string_view what) {
  return Error(absl::StatusCode::kUnimplemented, reason, what);
}

// The daemon asked for something that does not fit the slot's state: its error, not a client's.
absl::Status WrongState(std::string_view reason, std::string_view what) {
  return Error(absl::StatusCode::kFailedPrecondition, reason, what);
}

// Written so that NaN is outside too.
absl::Status CheckScale(const std::string& field, std::string_view reason, double scale) {
  constexpr double kMin = model_limits::kGuidanceScaleMin;
  constexpr double kMax = model_limits::kGuidanceScaleMax;
  if (scale >= kMin && scale <= kMax) return absl::OkStatus();
  return OutOfRange(reason, field,
                    absl::StrCat("must be ", kMin, " to ", kMax, "; nearest: ",
                                 std::clamp(std::isnan(scale) ? kMin : scale, kMin, kMax)));
}

absl::Status CheckSlotRequest(const v1::OpenSlot& request, const JobInputs& inputs,
                              const v1::Model& model, const Samplers& samplers,
                              bool takes_pictures) {
  const v1::Model::Limits& limits = model.limits();
  absl::Status status = CheckSize(limits, "width", request.width());
  if (status.ok()) status = CheckSize(limits, "height", request.height());
  if (!status.ok()) return status;
  if (limits.square_only() && request.height() != request.width()) {
    return OutOfRange("SIZE_UNSUPPORTED", "height",
                      absl::StrCat("is ", request.height(),
                                   "; this model makes square pictures, "
                                   "so it must equal width; nearest: ",
                                   request.width()));
  }
  for (const auto& [field, prompt] : {std::pair("prompt", &request.prompt()),
                                      std::pair("negative_prompt", &request.negative_prompt())}) {
    if (prompt->size() <= model_limits::kPromptBytesMax) continue;
    return OutOfRange("PROMPT_TOO_LONG", field,
                      absl::StrCat("has ", prompt->size(), " bytes; at most ",
                                   model_limits::kPromptBytesMax, " can be"));
  }
  status = CheckScale("sampling.guidance_scale", "GUIDANCE_SCALE_OUT_OF_RANGE",
                      request.guidance_scale());
  if (status.ok() && request.true_cfg_scale() != 0) {
    status = CheckScale("sampling.true_cfg_scale", "TRUE_CFG_SCALE_OUT_OF_RANGE",
                        request.true_cfg_scale());
  }
  if (!status.ok()) return status;
  if (request.seed() < 0) {
    return OutOfRange("SEED_OUT_OF_RANGE", "sampling.seed", "must be 0 to 2^63-1; nearest: 0");
  }
  const Sampler* sampler = FindSampler(samplers, request.sampler());
  if (sampler == nullptr) {
    return OutOfRange("SAMPLER_UNSUPPORTED", "sampling.sampler",
                      absl::StrCat("must be one of: ", absl::StrJoin(model.samplers(), ", "),
                                   "; nearest: ", model.defaults().sampler()));
  }
  const int steps_max = std::min(limits.steps_max(), sampler->steps_max());
  if (request.steps() < 1 || request.steps() > steps_max) {
    return OutOfRange("STEPS_OUT_OF_RANGE", "sampling.steps",
                      absl::StrCat("is ", request.steps(), "; it must be 1 to ", steps_max,
                                   "; nearest: ", std::clamp(request.steps(), 1, steps_max)));
  }
  if (request.adapters_size() > 0) {
    return Unsupported("ADAPTERS_UNSUPPORTED", "this model takes no adapters");
  }
  return CheckInputs(request, inputs, takes_pictures);
}

// A checkpoint is this job's own, from this or another worker; still only what fits is believed.
absl::Status CheckSlotCheckpoint(const v1::OpenSlot& request, absl::Span<const Payload> tensors,
                                 absl::Span<const int64_t> latent_shape, const v1::Model& model,
                                 const Sampler& sampler) {
  const v1::Checkpoint& checkpoint = request.checkpoint();
  if (checkpoint.numerics_id() != model.numerics_id()) {
    return WrongState("NUMERICS_MISMATCH",
                      "the checkpoint was made under another numerics_id; it can only be resumed "
                      "where the same request gives the same bits");
  }
  const double strength = request.has_init_image() ? request.strength() : 1.0;
  const int due = DenoiseEvaluations(sampler.name(), request.steps(), strength);
  if (checkpoint.step() < 0 || checkpoint.step() > due) {
    return WrongState("CHECKPOINT_INVALID",
                      absl::StrCat("step is ", checkpoint.step(), " of ", due));
  }
  const size_t bytes =
      sizeof(float) * static_cast<size_t>(latent_shape[0] * latent_shape[1] * latent_shape[2]);
  const auto fits = [&](const v1::TensorRef& ref) {
    return ref.dtype() == v1::DTYPE_F32 && std::equal(ref.shape().begin(), ref.shape().end(),
                                                      latent_shape.begin(), latent_shape.end());
  };
  const bool keeps_history = sampler.keeps_history();
  const bool ok =
      fits(checkpoint.latents()) && checkpoint.random_counter() == 0 &&
      checkpoint.sampler_state_size() == (keeps_history ? 1 : 0) &&
      std::all_of(checkpoint.sampler_state().begin(), checkpoint.sampler_state().end(), fits) &&
      tensors.size() == 1 + static_cast<size_t>(checkpoint.sampler_state_size()) &&
      std::all_of(tensors.begin(), tensors.end(),
                  [bytes](const Payload& tensor) { return tensor.size() == bytes; });
  if (ok) return absl::OkStatus();
  return WrongState("CHECKPOINT_INVALID",
                    absl::StrCat("this job's checkpoint is f32 latents [", latent_shape[0], ", ",
                                 latent_shape[1], ", ", latent_shape[2], "]",
                                 keeps_history ? " and the sampler's history, as many" : ""));
}

}  // namespace darkroom
