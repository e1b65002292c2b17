#include <utility>

#include "absl/strings/str_cat.h"
#include "model/denoisers/dit_denoiser.h"
#include "model/load_parts.h"
#include "model/model_error.h"
#include "model/samplers/ddim.h"
#include "model/samplers/dpm_solver.h"

namespace darkroom {
namespace {

constexpr int kDefaultSteps = 50;
constexpr double kDefaultGuidanceScale = 4.0;

struct DitConfigs {
  DitConfig transformer;
  AutoencoderKlConfig autoencoder;
  DdimConfig sampler;
};

absl::StatusOr<DitConfigs> ReadDitConfigs(ModelFolder& folder) {
  // Transformer2DModel: how diffusers called this transformer before it had a class of its own.
  const std::pair<std::string_view, std::vector<std::string_view>> components[] = {
      {"transformer", {"DiTTransformer2DModel", "Transformer2DModel"}},
      {"vae", {"AutoencoderKL"}},
      {"scheduler", {"DDIMScheduler"}}};
  for (const auto& [component, classes] : components) {
    if (absl::Status status = folder.RequireComponent(component, classes); !status.ok()) {
      return status;
    }
  }
  auto transformer = ReadConfig(folder, "transformer/config.json", &ReadDitConfig);
  if (!transformer.ok()) return transformer.status();
  auto autoencoder = ReadConfig(folder, "vae/config.json", &ReadAutoencoderKlConfig);
  if (!autoencoder.ok()) return autoencoder.status();
  auto sampler = ReadConfig(folder, "scheduler/scheduler_config.json", &ReadDdimConfig);
  if (!sampler.ok()) return sampler.status();
  if (transformer->in_channels != autoencoder->latent_channels) {
    return ModelInvalid(
        "transformer/config.json",
        absl::StrCat("in_channels is ", transformer->in_channels,
                     ", but vae/config.json has latent_channels ", autoencoder->latent_channels));
  }
  return DitConfigs{*transformer, *autoencoder, *sampler};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pipeline>> LoadDitPipeline(ModelFolder& folder,
                                                          const LoadOptions& options, Ops& ops) {
  absl::StatusOr<DitConfigs> configs = ReadDitConfigs(folder);
  if (!configs.ok()) return configs.status();
  absl::StatusOr<ClassNames> classes =
      ClassNames::Parse(folder.index(), configs->transformer.classes);
  if (!classes.ok()) return classes.status();

  absl::StatusOr<Weights> transformer_weights = Weights::Open(folder, "transformer");
  if (!transformer_weights.ok()) return transformer_weights.status();
  absl::StatusOr<Weights> vae_weights = Weights::Open(folder, "vae");
  if (!vae_weights.ok()) return vae_weights.status();
  const Weights* components[] = {&*transformer_weights, &*vae_weights};

  DiffusionPipelineParts parts;
  auto transformer = std::make_unique<DitTransformer>(configs->transformer, *transformer_weights);
  parts.decoder = std::make_unique<AutoencoderKlDecoder>(configs->autoencoder, *vae_weights);
  vae_weights->Ignore({"encoder.", "quant_conv."});
  if (absl::Status status = CheckAll(components); !status.ok()) return status;

  v1::Model& model = parts.model;
  model.set_parameters(CountParameters(components));
  model.add_tasks(v1::TASK_TEXT_TO_IMAGE);
  for (const std::string& name : classes->names()) model.add_classes(name);
  model.set_guidance(v1::Model::GUIDANCE_CLASSIFIER_FREE);
  model.mutable_limits()->set_square_only(true);
  model.mutable_defaults()->set_steps(kDefaultSteps);
  model.mutable_defaults()->set_guidance_scale(kDefaultGuidanceScale);
  model.mutable_defaults()->set_true_cfg_scale(1);
  parts.denoiser = std::make_unique<DitDenoiser>(std::move(transformer), *std::move(classes), ops);
  parts.samplers.push_back(std::make_unique<DdimSampler>(configs->sampler));
  parts.samplers.push_back(std::make_unique<DpmSolverSampler>(configs->sampler));
  const int native = configs->transformer.sample_size * configs->autoencoder.factor();
  HashAll(folder, components, options);
  absl::Status status = Describe(folder, options, native, ops, parts);
  const std::unique_ptr<Stream> stream = ops.CreateStream();
  if (!status.ok()) return status;
  status = PackShared(folder, components, options, ops, [&] {
    absl::Status packed = parts.denoiser->Load(options.precision, *stream);
    if (packed.ok()) packed = parts.decoder->Load(ops, *stream);
    return packed;
  });
  if (!status.ok()) return status;
  return std::make_unique<DiffusionPipeline>(std::move(parts), ops);
}

}  // namespace darkroom
