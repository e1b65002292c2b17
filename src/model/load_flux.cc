#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "model/denoisers/flux_denoiser.h"
#include "model/flux_prompt_encoder.h"
#include "model/limits.h"
#include "model/load_parts.h"
#include "model/model_error.h"
#include "model/samplers/flow_match.h"
#include "model/tokenizers/unicode.h"

namespace darkroom {
namespace {

// What FLUX.1 dev is used with, and schnell, which knows no guidance.
constexpr int kDefaultSteps = 28;
constexpr int kDefaultStepsFew = 4;
constexpr double kDefaultGuidanceScale = 3.5;
constexpr double kDefaultStrength = 0.6;
// Side of a picture where the autoencoder's configuration does not tell, pixels.
constexpr int kDefaultSize = 1024;

struct FluxConfigs {
  FluxConfig transformer;
  AutoencoderKlConfig autoencoder;
  FlowMatchConfig sampler;
  bool heun = false;
};

absl::StatusOr<FluxConfigs> ReadFluxConfigs(ModelFolder& folder) {
  const std::pair<std::string_view, std::vector<std::string_view>> components[] = {
      {"transformer", {"FluxTransformer2DModel"}},
      {"vae", {"AutoencoderKL"}},
      {"text_encoder", {"CLIPTextModel"}},
      {"text_encoder_2", {"T5EncoderModel"}},
      {"tokenizer", {"CLIPTokenizer", "CLIPTokenizerFast"}},
      {"tokenizer_2", {"T5TokenizerFast", "T5Tokenizer"}},
      {"scheduler", {"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"}}};
  for (const auto& [component, classes] : components) {
    if (absl::Status status = folder.RequireComponent(component, classes); !status.ok()) {
      return status;
    }
  }
  auto transformer = ReadConfig(folder, "transformer/config.json", &ReadFluxConfig);
  if (!transformer.ok()) return transformer.status();
  auto autoencoder = ReadConfig(folder, "vae/config.json", &ReadAutoencoderKlConfig);
  if (!autoencoder.ok()) return autoencoder.status();
  const bool heun = folder.RequireComponent("scheduler", {"FlowMatchHeunDiscreteScheduler"}).ok();
  auto sampler = ReadConfig(folder, "scheduler/scheduler_config.json",
                            heun ? &ReadFlowMatchHeunConfig : &ReadFlowMatchEulerConfig);
  if (!sampler.ok()) return sampler.status();
  if (transformer->latent_channels() != autoencoder->latent_channels) {
    return ModelInvalid("transformer/config.json",
                        absl::StrCat("in_channels is ", transformer->in_channels, ", ",
                                     transformer->latent_channels(),
                                     " latent channels in patches of 2 x 2, but vae/config.json "
                                     "has latent_channels ",
                                     autoencoder->latent_channels));
  }
  return FluxConfigs{*transformer, *autoencoder, *sampler, heun};
}

// The prompt's embeddings are as wide as the transformer takes them: a T5 of another size, or
// another CLIP, has learned for another model.
absl::Status CheckWidths(const FluxConfig& transformer, const PromptEncoder& prompts) {
  std::vector<std::string> problems;
  const auto check = [&](const char* file, const char* field, int width, const char* wanted_field,
                         int wanted) {
    if (width == wanted) return;
    problems.push_back(absl::StrCat(file, ": ", field, " is ", width,
                                    ", but transformer/config.json has ", wanted_field, " ",
                                    wanted));
  };
  check("text_encoder_2/config.json", "d_model", prompts.hidden_width(), "joint_attention_dim",
        transformer.joint_attention_dim);
  check("text_encoder/config.json", "hidden_size", prompts.pooled_width(), "pooled_projection_dim",
        transformer.pooled_projection_dim);
  if (problems.empty()) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "MODEL_INVALID", absl::StrJoin(problems, "; "));
}

// What users get without asking for more.
void DescribeFlux(const FluxConfig& config, v1::Model& model) {
  for (const v1::Task task : {v1::TASK_TEXT_TO_IMAGE, v1::TASK_IMAGE_TO_IMAGE, v1::TASK_INPAINT}) {
    model.add_tasks(task);
  }
  const bool guided = config.guidance_embeds;
  model.set_guidance(guided ? v1::Model::GUIDANCE_DISTILLED : v1::Model::GUIDANCE_NONE);
  v1::Model::Defaults& defaults = *model.mutable_defaults();
  defaults.set_steps(guided ? kDefaultSteps : kDefaultStepsFew);
  defaults.set_guidance_scale(guided ? kDefaultGuidanceScale : 1);
  defaults.set_true_cfg_scale(1);
  defaults.set_strength(kDefaultStrength);
}

// The side of the pictures the model was trained on, pixels: a whole number of tokens.
int NativeSize(const AutoencoderKlConfig& config) {
  const int multiple = config.factor() * FluxConfig::kPatch;
  const int size = config.sample_size > 0 ? config.sample_size : kDefaultSize;
  return std::max(1, std::min(size, model_limits::kSizePixelsMax) / multiple) * multiple;
}

// Both solvers of the same noise levels, the one that the folder names first.
Samplers MakeSamplers(const FluxConfigs& configs) {
  Samplers samplers;
  samplers.push_back(std::make_unique<FlowMatchEulerSampler>(configs.sampler));
  samplers.push_back(std::make_unique<FlowMatchHeunSampler>(configs.sampler));
  if (configs.heun) std::swap(samplers[0], samplers[1]);
  return samplers;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pipeline>> LoadFluxPipeline(ModelFolder& folder,
                                                           const LoadOptions& options, Ops& ops) {
  absl::StatusOr<FluxConfigs> configs = ReadFluxConfigs(folder);
  if (!configs.ok()) return configs.status();
  auto opened = FluxPromptEncoder::Open(folder);
  if (!opened.ok()) return opened.status();
  std::unique_ptr<FluxPromptEncoder> prompts = *std::move(opened);
  absl::Status status = CheckWidths(configs->transformer, *prompts);
  if (!status.ok()) return status;
  absl::StatusOr<Weights> transformer_weights = Weights::Open(folder, "transformer");
  if (!transformer_weights.ok()) return transformer_weights.status();
  absl::StatusOr<Weights> vae_weights = Weights::Open(folder, "vae");
  if (!vae_weights.ok()) return vae_weights.status();
  const Weights* components[] = {&*transformer_weights, &prompts->clip_weights(),
                                 &prompts->t5_weights(), &*vae_weights};

  DiffusionPipelineParts parts;
  auto transformer = std::make_unique<FluxTransformer>(configs->transformer, *transformer_weights);
  parts.decoder = std::make_unique<AutoencoderKlDecoder>(configs->autoencoder, *vae_weights);
  parts.encoder = std::make_unique<AutoencoderKlEncoder>(configs->autoencoder, *vae_weights);
  status = CheckAll(components);
  if (!status.ok()) return status;

  parts.model.set_parameters(CountParameters(components));
  DescribeFlux(configs->transformer, parts.model);
  parts.denoiser = std::make_unique<FluxDenoiser>(std::move(transformer), std::move(prompts), ops);
  parts.samplers = MakeSamplers(*configs);
  HashAll(folder, components, options);
  parts.numerics.add_libraries(UnicodeLibrary());
  status = Describe(folder, options, NativeSize(configs->autoencoder), ops, parts);
  const std::unique_ptr<Stream> stream = ops.CreateStream();
  if (!status.ok()) return status;
  status = PackShared(folder, components, options, ops, [&] {
    absl::Status packed = parts.denoiser->Load(options.precision, *stream);
    if (packed.ok()) packed = parts.decoder->Load(ops, *stream);
    if (packed.ok()) packed = parts.encoder->Load(ops, *stream);
    return packed;
  });
  if (!status.ok()) return status;
  return std::make_unique<DiffusionPipeline>(std::move(parts), ops);
}

}  // namespace darkroom
