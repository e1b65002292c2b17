#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/numerics.h"
#include "darkroom/pipeline.h"
#include "model/config_reader.h"
#include "model/dit_pipeline.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "model/model_folder.h"
#include "model/weights.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

constexpr int kDefaultSteps = 50;
constexpr double kDefaultGuidanceScale = 4.0;
constexpr int kSizeAlone = 2;  // sequences of one job with guidance

// Parses one component's configuration with its own schema.
template <typename Config>
absl::StatusOr<Config> ReadConfig(ModelFolder& folder, const std::string& file,
                                  absl::StatusOr<Config> (*read)(ConfigReader&)) {
  absl::StatusOr<Json> json = folder.ReadJson(file);
  if (!json.ok()) return json.status();
  ConfigReader reader(*json, file);
  return read(reader);
}

struct DitConfigs {
  DitConfig transformer;
  AutoencoderKlConfig decoder;
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
  auto decoder = ReadConfig(folder, "vae/config.json", &ReadAutoencoderKlConfig);
  if (!decoder.ok()) return decoder.status();
  auto sampler = ReadConfig(folder, "scheduler/scheduler_config.json", &ReadDdimConfig);
  if (!sampler.ok()) return sampler.status();
  if (transformer->in_channels != decoder->latent_channels) {
    return ModelInvalid(
        "transformer/config.json",
        absl::StrCat("in_channels is ", transformer->in_channels,
                     ", but vae/config.json has latent_channels ", decoder->latent_channels));
  }
  return DitConfigs{*transformer, *decoder, *sampler};
}

// Two components' problems are one error.
absl::Status CheckAll(const Weights& transformer, const Weights& vae) {
  const absl::Status first = transformer.Check();
  const absl::Status second = vae.Check();
  if (first.ok()) return second;
  if (second.ok()) return first;
  return Error(absl::StatusCode::kInvalidArgument, "MODEL_INVALID",
               absl::StrCat(first.message(), "; ", second.message()));
}

// Reads every file once, for the digest.
void HashAll(ModelFolder& folder, absl::Span<const Weights* const> components,
             const LoadOptions& options) {
  int64_t total = 0;
  for (const Weights* weights : components) total += static_cast<int64_t>(weights->size_bytes());
  int64_t done = 0;
  if (options.progress) options.progress(0, total);
  for (const Weights* weights : components) {
    for (const auto& file : weights->files()) {
      folder.Hash(*file, [&](size_t bytes) {
        done += static_cast<int64_t>(bytes);
        if (options.progress) options.progress(done, total);
      });
    }
  }
}

// Sizes that a model can make within the memory limits.
class DitMemory {
 public:
  DitMemory(const DitConfigs& configs, const DitStep& step, const AutoencoderKlDecoder& decoder)
      : step_(step),
        decoder_(decoder),
        factor_(configs.decoder.factor()),
        patch_(configs.transformer.patch),
        native_(configs.transformer.sample_size * factor_) {}

  int multiple() const { return factor_ * patch_; }
  int native() const { return native_; }
  int size_min() const {
    return std::max(multiple(),
                    native_ / model_limits::kSizeUnderNativeMax / multiple() * multiple());
  }
  // Rows of one job of this size, with guidance.
  int64_t RowsAlone(int size) const {
    const int64_t patches = size / multiple();
    return kSizeAlone * patches * patches;
  }
  // The largest size up to `rows_max` rows; 0 when not even the smallest fits.
  int SizeMax(int64_t rows_max) const {
    const int bound = std::max(native_, std::min(model_limits::kSizePixelsMax,
                                                 model_limits::kSizeOverNativeMax * native_));
    int size = bound / multiple() * multiple();
    while (size > 0 && !Fits(size, rows_max)) size -= multiple();
    return size;
  }
  // At most `wanted` rows, as many as fit in memory.
  int64_t RowsMax(int64_t wanted, int size_max, int slots) const {
    int64_t low = RowsAlone(size_max);
    int64_t high = std::max(wanted, low);
    while (low < high) {
      const int64_t middle = low + (high - low + 1) / 2;
      if (StepFits(middle, kSizeAlone * slots)) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

 private:
  bool StepFits(int64_t rows, int64_t sequences) const {
    return step_.WorkspaceBytes(rows, sequences) <= model_limits::kStepWorkspaceBytesMax;
  }
  bool Fits(int size, int64_t rows_max) const {
    return RowsAlone(size) <= rows_max && StepFits(RowsAlone(size), kSizeAlone) &&
           decoder_.WorkspaceBytes(size / factor_, size / factor_) <=
               model_limits::kDecodeWorkspaceBytesMax;
  }

  const DitStep& step_;
  const AutoencoderKlDecoder& decoder_;
  int factor_;
  int patch_;
  int native_;
};

void DescribeModel(const LoadOptions& options, const ModelFolder& folder, const DitMemory& memory,
                   int size_max, DitPipelineParts& parts) {
  v1::Model& model = parts.model;
  model.set_name(options.name);
  model.set_state(v1::Model::STATE_READY);
  model.set_family(folder.family());
  model.add_tasks(v1::TASK_TEXT_TO_IMAGE);
  model.set_digest(folder.Digest());
  model.set_license(folder.License());
  for (const std::string& name : parts.classes.names()) model.add_classes(name);

  v1::Model::Limits& limits = *model.mutable_limits();
  limits.set_size_min(std::min(memory.size_min(), size_max));
  limits.set_size_max(size_max);
  limits.set_size_multiple_of(memory.multiple());
  limits.set_square_only(true);
  limits.set_steps_max(parts.sampler.steps_max());
  limits.set_images_max(model_limits::kImagesMax);

  v1::Model::Defaults& defaults = *model.mutable_defaults();
  defaults.set_width(memory.native());
  defaults.set_height(memory.native());
  defaults.set_steps(std::min(kDefaultSteps, parts.sampler.steps_max()));
  defaults.set_guidance_scale(kDefaultGuidanceScale);
  defaults.set_sampler("ddim");
}

void DescribeNumerics(const LoadOptions& options, Ops& ops, DitPipelineParts& parts) {
  v1::Numerics& numerics = parts.numerics;
  numerics.set_model_digest(parts.model.digest());
  numerics.set_precision(options.precision == DType::kBf16 ? "bf16" : "f32");
  // "cpu avx512_core, 2 threads"
  const std::vector<std::string> device = absl::StrSplit(ops.DeviceName(), ' ');
  numerics.set_backend(device.front());
  numerics.set_isa(ops.Isa());
  numerics.set_version(kNumericsVersion);
  // "onednn 2.6.3, glibc 2.36"
  for (const absl::string_view library : absl::StrSplit(ops.Libraries(), ", ")) {
    numerics.add_libraries(std::string(library));
  }
  numerics.set_tensor_degree(1);
  numerics.set_ring_degree(1);
  numerics.set_expert_degree(1);
  numerics.set_acceleration("exact");
  parts.model.set_numerics_id(NumericsId(numerics));
}

absl::Status CheckOptions(const LoadOptions& options, Ops& ops) {
  if (options.slots < 1 || options.slots > model_limits::kSlotsMax) {
    return Error(
        absl::StatusCode::kInvalidArgument, "SLOTS_OUT_OF_RANGE",
        absl::StrCat("slots is ", options.slots, "; it must be 1 to ", model_limits::kSlotsMax));
  }
  if (options.step_tokens_max < 0) {
    return Error(absl::StatusCode::kInvalidArgument, "STEP_TOKENS_OUT_OF_RANGE",
                 "step_tokens_max must not be negative; 0 means as many as the slots need");
  }
  if (options.precision != DType::kF32 && options.precision != DType::kBf16) {
    return Error(absl::StatusCode::kInvalidArgument, "PRECISION_UNSUPPORTED",
                 "precision must be f32 or bf16");
  }
  if (!ops.Supports(options.precision)) {
    return Error(absl::StatusCode::kInvalidArgument, "PRECISION_UNSUPPORTED",
                 absl::StrCat("this device (", ops.DeviceName(),
                              ") does not compute bf16; precision must be f32"));
  }
  return absl::OkStatus();
}

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

  DitPipelineParts parts;
  parts.transformer = std::make_unique<DitTransformer>(configs->transformer, *transformer_weights);
  parts.decoder = std::make_unique<AutoencoderKlDecoder>(configs->decoder, *vae_weights);
  absl::Status status = CheckAll(*transformer_weights, *vae_weights);
  if (!status.ok()) return status;

  const DitStep step(*parts.transformer, ops);
  const DitMemory memory(*configs, step, *parts.decoder);
  const int64_t rows_wanted = options.step_tokens_max > 0 ? options.step_tokens_max : INT64_MAX;
  const int size_max = memory.SizeMax(rows_wanted);
  if (size_max < memory.native()) {
    return Error(absl::StatusCode::kResourceExhausted, "MODEL_TOO_LARGE",
                 absl::StrCat("a step of this model's own size, ", memory.native(), " x ",
                              memory.native(), " pixels, takes ", memory.RowsAlone(memory.native()),
                              " tokens with guidance, which is beyond step_tokens_max or the "
                              "worker's memory limits"));
  }
  parts.slots = options.slots;
  parts.step_rows_max = memory.RowsMax(
      std::min(rows_wanted, memory.RowsAlone(size_max) * options.slots), size_max, options.slots);

  HashAll(folder, {&*transformer_weights, &*vae_weights}, options);
  const std::unique_ptr<Stream> stream = ops.CreateStream();
  status = parts.transformer->Load(options.precision, ops, *stream);
  if (status.ok()) status = parts.decoder->Load(ops, *stream);
  if (!status.ok()) return status;

  parts.sampler = DdimSampler(configs->sampler);
  parts.classes = *std::move(classes);
  parts.model.set_parameters(transformer_weights->parameters() + vae_weights->parameters());
  DescribeModel(options, folder, memory, size_max, parts);
  DescribeNumerics(options, ops, parts);
  const char* hash_latents = std::getenv("DARKROOM_HASH_LATENTS");
  parts.hash_latents = hash_latents != nullptr && std::string_view(hash_latents) == "1";
  return std::unique_ptr<Pipeline>(std::make_unique<DitPipeline>(std::move(parts), ops));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pipeline>> LoadPipeline(const std::string& path,
                                                       const LoadOptions& options, Ops& ops) {
  if (absl::Status status = CheckOptions(options, ops); !status.ok()) return status;
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(path);
  if (!folder.ok()) return folder.status();
  if (folder->family() == "DiTPipeline") return LoadDitPipeline(*folder, options, ops);
  return ModelInvalid("model_index.json",
                      absl::StrCat("_class_name is ", folder->family(),
                                   ", which is not supported; supported: DiTPipeline"));
}

}  // namespace darkroom
