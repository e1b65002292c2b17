#include "main/cli/sampling_flags.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "main/cli/output.h"

namespace darkroom::cli {
namespace {

// "512x256", or "512" for a square.
absl::Status ParseSize(const std::string& text, v1::GenerateRequest& request) {
  const std::vector<std::string> sides = absl::StrSplit(text, absl::ByAnyChar("xX"));
  int32_t width = 0;
  int32_t height = 0;
  if (sides.empty() || sides.size() > 2 || !absl::SimpleAtoi(sides.front(), &width) ||
      !absl::SimpleAtoi(sides.back(), &height)) {
    return UsageError(absl::StrCat("--size is \"", Printable(text, 40),
                                   "\"; must be WIDTHxHEIGHT in pixels, for example 256x256"));
  }
  request.set_width(width);
  request.set_height(height);
  return absl::OkStatus();
}

absl::Status ParseNoiseDtype(const std::string& text, v1::Sampling& sampling) {
  if (text == "f32") sampling.set_noise_dtype(v1::NOISE_DTYPE_F32);
  if (text == "bf16") sampling.set_noise_dtype(v1::NOISE_DTYPE_BF16);
  if (text.empty() || text == "f32" || text == "bf16") return absl::OkStatus();
  return UsageError(
      absl::StrCat("--noise-dtype is \"", Printable(text, 40), "\"; must be f32 or bf16"));
}

}  // namespace

void AddSamplingOptions(CLI::App* command, const std::string& seed_help,
                        const std::shared_ptr<SamplingFlags>& flags) {
  command->add_option("--steps", flags->steps, "Denoising steps");
  command->add_option("--seed", flags->seed, seed_help);
  command->add_option("--size", flags->size, "WIDTHxHEIGHT in pixels");
  command->add_option("--guidance-scale", flags->guidance_scale,
                      "Classifier-free guidance, 1 to 30; 1 turns it off");
  command->add_option("--negative-prompt", flags->negative_prompt, "What not to show");
  command->add_option("--true-cfg-scale", flags->true_cfg_scale,
                      "Classifier-free guidance of a model with distilled guidance, 1 to 30");
  command->add_option("--sampler", flags->sampler, "Sampler; `models NAME` tells which there are");
  command->add_option("--max-sequence-length", flags->max_sequence_length,
                      "Longest prompt in tokens (default: the model's)");
  command->add_option("--noise-dtype", flags->noise_dtype,
                      "f32 or bf16: the type that diffusers draws its noise in (default f32)");
}

absl::Status FillSampling(const SamplingFlags& flags, v1::GenerateRequest& request) {
  if (!flags.size.empty()) {
    if (absl::Status status = ParseSize(flags.size, request); !status.ok()) return status;
  }
  request.set_negative_prompt(flags.negative_prompt);
  v1::Sampling& sampling = *request.mutable_sampling();
  if (flags.steps) sampling.set_steps(*flags.steps);
  if (flags.seed) sampling.set_seed(*flags.seed);
  if (flags.guidance_scale) sampling.set_guidance_scale(*flags.guidance_scale);
  if (flags.true_cfg_scale) sampling.set_true_cfg_scale(*flags.true_cfg_scale);
  sampling.set_sampler(flags.sampler);
  sampling.set_max_sequence_length(flags.max_sequence_length);
  return ParseNoiseDtype(flags.noise_dtype, sampling);
}

absl::Status UsageError(const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, "FLAG_INVALID", message);
}

}  // namespace darkroom::cli
