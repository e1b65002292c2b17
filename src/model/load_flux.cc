#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/denoisers/flux_denoiser.h"
#include "model/limits.h"
#include "model/load_parts.h"
#include "model/model_error.h"
#include "model/samplers/flow_match.h"

namespace darkroom {
namespace {

// What FLUX.1 dev is used with, and schnell, which knows no guidance.
constexpr int kDefaultSteps = 28;
constexpr int kDefaultStepsFew = 4;
constexpr double kDefaultGuidanceScale = 3.5;
constexpr double kDefaultStrength = 0.6;
// Side of a picture where the autoencoder's configuration does not tell.
constexpr int kDefaultSize = 1024;

struct FluxConfigs {
  FluxConfig transformer;
  AutoencoderKlConfig autoencoder;
  FlowMatchConfig sampler;
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
  return FluxConfigs{*transformer, *autoencoder, *sampler};
}

}  // namespace

}  // namespace darkroom
