#include "gateway/validation_inputs.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/denoise_steps.h"
#include "base/nearest_name.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "gateway/limits.h"
#include "gateway/size_range.h"
#include "gateway/text.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

bool HasRole(const v1::GenerateRequest& request, v1::InputRole role) {
  return std::any_of(request.inputs().begin(), request.inputs().end(),
                     [role](const v1::InputImage& input) { return input.role() == role; });
}

void CheckPolarity(const v1::InputImage& input, const std::string& field, FieldErrors& errors) {
  const bool is_mask = input.role() == v1::INPUT_ROLE_MASK;
  const bool known = v1::MaskPolarity_IsValid(input.polarity()) &&
                     input.polarity() != v1::MASK_POLARITY_UNSPECIFIED;
  if (is_mask && !known) {
    errors.Add(field + ".polarity", "MASK_POLARITY_MISSING",
               "does not say what the mask's pixels mean",
               "must be MASK_POLARITY_WHITE_IS_PAINTED, MASK_POLARITY_BLACK_IS_PAINTED or "
               "MASK_POLARITY_TRANSPARENT_IS_PAINTED");
  }
  if (!is_mask && input.polarity() != v1::MASK_POLARITY_UNSPECIFIED) {
    errors.Add(field + ".polarity", "MASK_POLARITY_UNEXPECTED",
               "is set for a picture that is no mask", "must be unset");
  }
}

// The digest of the picture; empty with a violation.
std::string DigestOf(const v1::InputImage& input, const std::string& field, FieldErrors& errors) {
  std::string digest;
  switch (input.source_case()) {
    case v1::InputImage::kData:
      if (input.data().size() > static_cast<size_t>(limits::kInputDataBytesMax)) {
        errors.Add(field + ".data", "INPUT_TOO_LARGE",
                   absl::StrCat("has ", input.data().size(), " bytes"),
                   absl::StrCat("must be at most ", limits::kInputDataBytesMax,
                                " bytes; upload larger pictures as assets"));
        return "";
      }
      digest = Sha256Hex(input.data());
      break;
    case v1::InputImage::kAsset: {
      const auto name = AssetName::Parse(input.asset(), field + ".asset");
      if (!name.ok()) {
        errors.Add(field + ".asset", "RESOURCE_NAME_INVALID", "is not an asset's name",
                   "must look like tenants/{tenant}/assets/{sha256}");
        return "";
      }
      digest = name->sha256;
      break;
    }
    default:
      errors.Add(field, "INPUT_SOURCE_MISSING", "has neither data nor asset",
                 "must have one of them");
      return "";
  }
  if (!input.sha256().empty() && input.sha256() != digest) {
    errors.Add(field + ".sha256", "INPUT_DIGEST_MISMATCH", "is not the digest of the picture",
               absl::StrCat("must be empty or ", digest));
  }
  return digest;
}

// Whether the inputs are those that the task needs.
void CheckTaskInputs(const v1::GenerateRequest& request, v1::Task task, FieldErrors& errors) {
  const bool init = HasRole(request, v1::INPUT_ROLE_INIT);
  const bool mask = HasRole(request, v1::INPUT_ROLE_MASK);
  if (mask && !init) {
    errors.Add("inputs", "MASK_WITHOUT_INIT", "has a mask and no picture to paint on",
               "must have an input of role INPUT_ROLE_INIT with it");
    return;
  }
  const v1::Task fits = TaskOf(request);
  if (task == fits || !v1::Task_IsValid(task)) return;
  if (task == v1::TASK_TEXT_TO_IMAGE || (task == v1::TASK_IMAGE_TO_IMAGE && mask)) {
    errors.Add("inputs", "INPUT_UNEXPECTED",
               absl::StrCat("has pictures that ", v1::Task_Name(task), " does not take"),
               absl::StrCat("must fit the task; nearest task: ", v1::Task_Name(fits)));
    return;
  }
  errors.Add("inputs", "INPUT_MISSING", init ? "has no mask" : "has no picture to start from",
             task == v1::TASK_INPAINT
                 ? "must have one INPUT_ROLE_INIT and one INPUT_ROLE_MASK for TASK_INPAINT"
                 : "must have one INPUT_ROLE_INIT for TASK_IMAGE_TO_IMAGE");
}

// A number in [min, max], written so that NaN fails.
void CheckScale(double value, double min, double max, std::string_view field,
                std::string_view reason, FieldErrors& errors) {
  if (value >= min && value <= max) return;
  errors.Add(field, reason, absl::StrFormat("is %g", value),
             absl::StrFormat("must be %g to %g; nearest: %g", min, max, value > max ? max : min));
}

void ResolveStrength(const v1::Model& model, v1::GenerateRequest& resolved, FieldErrors& errors) {
  v1::Sampling& sampling = *resolved.mutable_sampling();
  if (!HasRole(resolved, v1::INPUT_ROLE_INIT)) {
    if (!sampling.has_strength()) return;
    errors.Add("sampling.strength", "STRENGTH_WITHOUT_INIT",
               "is set without a picture to start from",
               "must be unset, or come with an input of role INPUT_ROLE_INIT");
    return;
  }
  if (!sampling.has_strength()) {
    const double own = model.defaults().strength();
    sampling.set_strength(own > 0 ? own : limits::kStrengthDefault);
  }
  const double strength = sampling.strength();
  if (!(strength >= 0 && strength <= 1)) {
    return CheckScale(strength, 0, 1, "sampling.strength", "STRENGTH_OUT_OF_RANGE", errors);
  }
  if (sampling.steps() < 1 || sampling.steps() > limits::kStepsMax ||
      DenoiseEvaluations(sampling.sampler(), sampling.steps(), strength) >= 1) {
    return;
  }
  errors.Add(
      "sampling.strength", "STRENGTH_LEAVES_NO_STEP",
      absl::StrFormat("is %g, which leaves none of %d steps to run", strength, sampling.steps()),
      absl::StrFormat("must leave at least one; nearest: %g", 1.0 / sampling.steps()));
}

void ResolveSampler(const v1::Model& model, v1::Sampling& sampling, FieldErrors& errors) {
  std::vector<std::string> names(model.samplers().begin(), model.samplers().end());
  if (names.empty()) names.push_back(model.defaults().sampler());
  if (sampling.sampler().empty()) {
    sampling.set_sampler(names.front());
    return;
  }
  if (std::find(names.begin(), names.end(), sampling.sampler()) != names.end()) return;
  const std::string given = Quoted(sampling.sampler(), limits::kQuotedBytesMax);
  errors.Add(
      "sampling.sampler", "SAMPLER_UNSUPPORTED",
      absl::StrCat("is ", given, ", which the model does not have"),
      absl::StrCat("must be one of ", absl::StrJoin(names, ", "), "; nearest: ",
                   NearestNames(Utf8Prefix(sampling.sampler(), limits::kComparedBytesMax), names, 1)
                       .front()));
}

void ResolveTrueCfg(const v1::Model& model, v1::Sampling& sampling, FieldErrors& errors) {
  if (!sampling.has_true_cfg_scale()) {
    sampling.set_true_cfg_scale(std::max(1.0, model.defaults().true_cfg_scale()));
  }
  CheckScale(sampling.true_cfg_scale(), limits::kGuidanceScaleMin, limits::kGuidanceScaleMax,
             "sampling.true_cfg_scale", "TRUE_CFG_SCALE_OUT_OF_RANGE", errors);
  const bool takes_it = model.guidance() == v1::Model::GUIDANCE_DISTILLED ||
                        model.guidance() == v1::Model::GUIDANCE_NONE;
  if (!takes_it && sampling.true_cfg_scale() > 1 &&
      sampling.true_cfg_scale() <= limits::kGuidanceScaleMax) {
    errors.Add("sampling.true_cfg_scale", "TRUE_CFG_UNSUPPORTED",
               absl::StrFormat("is %g", sampling.true_cfg_scale()),
               "must be 1: this model's guidance_scale is classifier-free already; nearest: 1");
  }
}

void ResolveSequenceLength(const v1::Model& model, v1::Sampling& sampling, FieldErrors& errors) {
  const int32_t max = model.limits().sequence_length_max();
  const int32_t given = sampling.max_sequence_length();
  if (given == 0) {
    sampling.set_max_sequence_length(max);
  } else if (max == 0) {
    errors.Add("sampling.max_sequence_length", "SEQUENCE_LENGTH_OUT_OF_RANGE",
               absl::StrCat("is ", given),
               "must be 0: this model's prompts have no tokens to count; nearest: 0");
  } else if (given < 1 || given > max) {
    errors.Add("sampling.max_sequence_length", "SEQUENCE_LENGTH_OUT_OF_RANGE",
               absl::StrCat("is ", given),
               absl::StrCat("must be 1 to ", max, ", or 0 for ", max,
                            "; nearest: ", std::clamp(given, 1, max)));
  }
}

}  // namespace

v1::Task TaskOf(const v1::GenerateRequest& request) {
  if (HasRole(request, v1::INPUT_ROLE_MASK)) return v1::TASK_INPAINT;
  if (HasRole(request, v1::INPUT_ROLE_INIT)) return v1::TASK_IMAGE_TO_IMAGE;
  return v1::TASK_TEXT_TO_IMAGE;
}

void ResolveInputs(const v1::GenerateRequest& request, v1::Task task, v1::GenerateRequest& resolved,
                   FieldErrors& errors) {
  if (request.inputs_size() > limits::kInputsMax) {
    errors.Add("inputs", "INPUTS_TOO_MANY",
               absl::StrCat("has ", request.inputs_size(), " pictures"),
               absl::StrCat("must have at most ", limits::kInputsMax, ", one of each role"));
    return;
  }
  std::set<int> roles;
  for (int i = 0; i < request.inputs_size(); ++i) {
    const v1::InputImage& input = request.inputs(i);
    const std::string field = absl::StrCat("inputs[", i, "]");
    if (input.role() != v1::INPUT_ROLE_INIT && input.role() != v1::INPUT_ROLE_MASK) {
      errors.Add(field + ".role", "INPUT_ROLE_UNKNOWN",
                 absl::StrCat("is ", static_cast<int>(input.role())),
                 "must be INPUT_ROLE_INIT or INPUT_ROLE_MASK");
      continue;
    }
    if (!roles.insert(input.role()).second) {
      errors.Add(field + ".role", "INPUT_ROLE_REPEATED", "is the role of an earlier input too",
                 "must be unlike the others': one picture of each role");
      continue;
    }
    CheckPolarity(input, field, errors);
    v1::InputImage& named = *resolved.add_inputs();
    named.set_role(input.role());
    named.set_polarity(input.polarity());
    named.set_sha256(DigestOf(input, field, errors));
    if (input.has_asset()) named.set_asset(input.asset());
  }
  CheckTaskInputs(request, task, errors);
  if (task == v1::TASK_INPAINT) {
    resolved.set_mask_overlay(!request.has_mask_overlay() || request.mask_overlay());
  } else if (request.has_mask_overlay()) {
    errors.Add("mask_overlay", "MASK_OVERLAY_UNEXPECTED", "is set without a mask",
               "must be unset for anything but TASK_INPAINT");
  }
}

void ResolveGuides(const v1::Model& model, v1::GenerateRequest& resolved, FieldErrors& errors) {
  v1::Sampling& sampling = *resolved.mutable_sampling();
  ResolveSampler(model, sampling, errors);
  ResolveTrueCfg(model, sampling, errors);
  ResolveSequenceLength(model, sampling, errors);
  if (sampling.noise_dtype() == v1::NOISE_DTYPE_UNSPECIFIED) {
    sampling.set_noise_dtype(v1::NOISE_DTYPE_F32);
  } else if (!v1::NoiseDtype_IsValid(sampling.noise_dtype())) {
    errors.Add("sampling.noise_dtype", "NOISE_DTYPE_UNKNOWN",
               absl::StrCat("is ", static_cast<int>(sampling.noise_dtype())),
               "must be NOISE_DTYPE_F32 or NOISE_DTYPE_BF16; nearest: NOISE_DTYPE_F32");
  }
  ResolveStrength(model, resolved, errors);
}

void CheckNegativePrompt(const v1::Model& model, const v1::GenerateRequest& resolved,
                         FieldErrors& errors) {
  if (resolved.negative_prompt().empty()) return;
  if (model.classes_size() > 0) {
    errors.Add("negative_prompt", "NEGATIVE_PROMPT_UNSUPPORTED",
               "is set and the model is class-conditional", "must be empty");
    return;
  }
  const bool by_scale = model.guidance() == v1::Model::GUIDANCE_CLASSIFIER_FREE;
  const v1::Sampling& sampling = resolved.sampling();
  if (sampling.true_cfg_scale() > 1 || (by_scale && sampling.guidance_scale() > 1)) return;
  errors.Add(
      "negative_prompt", "NEGATIVE_PROMPT_WITHOUT_GUIDANCE",
      "is set and nothing guides away from it",
      absl::StrCat("must be empty, or come with ",
                   by_scale ? "sampling.guidance_scale" : "sampling.true_cfg_scale", " above 1"));
}

void ResolvePreview(v1::GenerateRequest& resolved, FieldErrors& errors) {
  if (!resolved.has_preview()) return;
  v1::PreviewOptions& preview = *resolved.mutable_preview();
  if (preview.size_max() == 0) preview.set_size_max(limits::kPreviewSizeDefault);
  const auto check = [&](int64_t value, int64_t min, int64_t max, std::string_view field,
                         std::string_view reason) {
    if (value >= min && value <= max) return;
    errors.Add(field, reason, absl::StrCat("is ", value),
               absl::StrCat("must be ", min, " to ", max, min > 0 ? ", or 0" : "",
                            "; nearest: ", std::clamp(value, min, max)));
  };
  check(preview.every_n_steps(), 0, limits::kStepsMax, "preview.every_n_steps",
        "PREVIEW_STEPS_OUT_OF_RANGE");
  check(preview.size_max(), limits::kPreviewSizeMin, limits::kPreviewSizeMax, "preview.size_max",
        "PREVIEW_SIZE_OUT_OF_RANGE");
}

absl::Status ResolvePictures(const v1::Model& model, absl::Span<const Picture> pictures,
                             v1::GenerateRequest& resolved) {
  FieldErrors errors;
  if (pictures.empty()) return absl::OkStatus();
  const SizeRange range(model.limits());
  const auto text = [](int64_t width, int64_t height) {
    return absl::StrCat(width, " by ", height, " pixels");
  };
  size_t init = 0;
  while (init + 1 < pictures.size() &&
         resolved.inputs(static_cast<int>(init)).role() != v1::INPUT_ROLE_INIT) {
    ++init;
  }
  const int32_t width = resolved.width() == 0 ? pictures[init].width : resolved.width();
  const int32_t height = resolved.height() == 0 ? pictures[init].height : resolved.height();
  const bool square = model.limits().square_only();
  if (!range.Contains(width) || !range.Contains(height) || (square && width != height)) {
    const int64_t near_width = range.Nearest(width);
    const int64_t near_height = square ? near_width : range.Nearest(height);
    errors.Add(absl::StrCat("inputs[", init, "]"), "INPUT_SIZE_INVALID",
               absl::StrCat("has ", text(pictures[init].width, pictures[init].height)),
               absl::StrCat("must have a size that the model makes: ", square ? "square, " : "",
                            "each side ", range.min, " to ", range.max, " in steps of ",
                            range.multiple, "; nearest: ", text(near_width, near_height)));
    return errors.ToStatus();
  }
  for (size_t i = 0; i < pictures.size(); ++i) {
    if (pictures[i].width == width && pictures[i].height == height) continue;
    errors.Add(absl::StrCat("inputs[", i, "]"), "INPUT_SIZE_MISMATCH",
               absl::StrCat("has ", text(pictures[i].width, pictures[i].height)),
               absl::StrCat("must have the size of the output; nearest: ", text(width, height)));
  }
  resolved.set_width(width);
  resolved.set_height(height);
  return errors.ToStatus();
}

}  // namespace darkroom
