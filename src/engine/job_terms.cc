#include "engine/job_terms.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/denoise_steps.h"

namespace darkroom::engine {
namespace {

double StrengthOf(const v1::GenerateRequest& request) {
  return HasInput(request, v1::INPUT_ROLE_INIT) ? request.sampling().strength() : 1;
}

}  // namespace

v1::Stage StageToProto(scheduler::Stage stage) {
  switch (stage) {
    case scheduler::Stage::kEncode:
      return v1::STAGE_ENCODE;
    case scheduler::Stage::kImageEncode:
      return v1::STAGE_IMAGE_ENCODE;
    case scheduler::Stage::kDenoise:
      return v1::STAGE_DENOISE;
    case scheduler::Stage::kDecode:
      return v1::STAGE_DECODE;
    case scheduler::Stage::kMediaEncode:
      return v1::STAGE_MEDIA_ENCODE;
  }
  return v1::STAGE_UNSPECIFIED;
}

v1::IsolationLevel IsolationToProto(scheduler::Isolation isolation) {
  switch (isolation) {
    case scheduler::Isolation::kShared:
      return v1::ISOLATION_LEVEL_SHARED;
    case scheduler::Isolation::kExclusiveBatch:
      return v1::ISOLATION_LEVEL_EXCLUSIVE_BATCH;
    case scheduler::Isolation::kDedicated:
      return v1::ISOLATION_LEVEL_DEDICATED;
  }
  return v1::ISOLATION_LEVEL_UNSPECIFIED;
}

std::optional<scheduler::Stage> StageFromProto(v1::Stage stage) {
  for (int i = 0; i < scheduler::kStages; ++i) {
    const auto candidate = static_cast<scheduler::Stage>(i);
    if (StageToProto(candidate) == stage) return candidate;
  }
  return std::nullopt;
}

bool HasInput(const v1::GenerateRequest& request, v1::InputRole role) {
  return std::any_of(request.inputs().begin(), request.inputs().end(),
                     [role](const v1::InputImage& input) { return input.role() == role; });
}

std::string InputBlobKey(const std::string& generation, int index) {
  return absl::StrCat(generation, "/input-", index);
}

PictureUse UseOf(const v1::InputImage& input) {
  if (input.role() != v1::INPUT_ROLE_MASK) return PictureUse::kImage;
  switch (input.polarity()) {
    case v1::MASK_POLARITY_BLACK_IS_PAINTED:
      return PictureUse::kMaskBlack;
    case v1::MASK_POLARITY_TRANSPARENT_IS_PAINTED:
      return PictureUse::kMaskTransparent;
    default:
      return PictureUse::kMaskWhite;
  }
}

int32_t Evaluations(const v1::GenerateRequest& request) {
  const v1::Sampling& sampling = request.sampling();
  return DenoiseEvaluations(sampling.sampler(), std::max(1, sampling.steps()), StrengthOf(request));
}

int Branches(const v1::GenerateRequest& request, v1::Model::Guidance guidance) {
  const v1::Sampling& sampling = request.sampling();
  // A model that does not say is classifier-free, as the first family was.
  const bool by_scale = (guidance == v1::Model::GUIDANCE_UNSPECIFIED ||
                         guidance == v1::Model::GUIDANCE_CLASSIFIER_FREE) &&
                        sampling.guidance_scale() > 1;
  return by_scale || sampling.true_cfg_scale() > 1 ? 2 : 1;
}

bool PreviewDue(const v1::GenerateRequest& request, int32_t steps_done) {
  const int32_t every = request.preview().every_n_steps();
  return every > 0 && steps_done % every == 0 && steps_done < Evaluations(request);
}

void FillOpenSlot(const v1::GenerateRequest& request, int output_index, v1::OpenSlot& open) {
  const v1::Sampling& sampling = request.sampling();
  open.set_width(request.width());
  open.set_height(request.height());
  open.set_prompt(request.prompt());
  open.set_negative_prompt(request.negative_prompt());
  open.set_guidance_scale(sampling.guidance_scale());
  open.set_true_cfg_scale(sampling.true_cfg_scale());
  open.set_seed(sampling.seed() + output_index);
  open.set_steps(sampling.steps());
  open.set_sampler(sampling.sampler());
  open.set_max_sequence_length(sampling.max_sequence_length());
  open.set_noise_dtype(sampling.noise_dtype() == v1::NOISE_DTYPE_BF16 ? v1::DTYPE_BF16
                                                                      : v1::DTYPE_F32);
  if (HasInput(request, v1::INPUT_ROLE_INIT)) open.set_strength(sampling.strength());
}

std::vector<std::pair<std::string, std::string>> PictureTexts(const v1::GenerateRequest& request,
                                                              int output_index,
                                                              const std::string& numerics_id) {
  const v1::Sampling& sampling = request.sampling();
  std::vector<std::pair<std::string, std::string>> texts = {
      {"Software", "Darkroom"},
      {"model", request.model()},
      {"prompt", request.prompt()},
      {"seed", absl::StrCat(sampling.seed() + output_index)},
      {"steps", absl::StrCat(sampling.steps())},
      {"guidance_scale", absl::StrCat(sampling.guidance_scale())},
      {"size", absl::StrCat(request.width(), "x", request.height())},
      {"sampler", sampling.sampler()},
      {"numerics_id", numerics_id},
  };
  // Only what the request uses: a picture without a negative prompt has none, not an empty one.
  if (sampling.true_cfg_scale() > 1) {
    texts.emplace_back("true_cfg_scale", absl::StrCat(sampling.true_cfg_scale()));
  }
  if (!request.negative_prompt().empty()) {
    texts.emplace_back("negative_prompt", request.negative_prompt());
  }
  if (sampling.max_sequence_length() > 0) {
    texts.emplace_back("max_sequence_length", absl::StrCat(sampling.max_sequence_length()));
  }
  if (sampling.noise_dtype() == v1::NOISE_DTYPE_BF16) texts.emplace_back("noise_dtype", "bf16");
  if (HasInput(request, v1::INPUT_ROLE_INIT)) {
    texts.emplace_back("strength", absl::StrCat(sampling.strength()));
  }
  for (const v1::InputImage& input : request.inputs()) {
    const bool is_mask = input.role() == v1::INPUT_ROLE_MASK;
    texts.emplace_back(is_mask ? "mask_sha256" : "init_sha256", input.sha256());
    if (!is_mask) continue;
    texts.emplace_back("mask_polarity",
                       input.polarity() == v1::MASK_POLARITY_WHITE_IS_PAINTED   ? "white"
                       : input.polarity() == v1::MASK_POLARITY_BLACK_IS_PAINTED ? "black"
                                                                                : "transparent");
    texts.emplace_back("mask_overlay", request.mask_overlay() ? "true" : "false");
  }
  return texts;
}

}  // namespace darkroom::engine
