#include "model/generation_defaults.h"

#include "model/config_reader.h"
#include "model/json.h"
#include "model/limits.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

constexpr const char* kFile = "generation_config.json";

}  // namespace

absl::Status ReadGenerationDefaults(ModelFolder& folder, v1::Model& model) {
  if (!folder.Exists(kFile)) return absl::OkStatus();
  const absl::StatusOr<Json> json = folder.ReadJson(kFile);
  if (!json.ok()) return json.status();
  ConfigReader reader(*json, kFile);
  v1::Model::Defaults& defaults = *model.mutable_defaults();
  if (reader.IsSet("num_inference_steps")) {
    defaults.set_steps(static_cast<int32_t>(
        reader.Int("num_inference_steps", 1, model.limits().steps_max(), defaults.steps())));
  }
  const auto scale = [&](const char* field, double family) {
    return reader.Number(field, model_limits::kGuidanceScaleMin, model_limits::kGuidanceScaleMax,
                         family);
  };
  defaults.set_guidance_scale(scale("guidance_scale", defaults.guidance_scale()));
  defaults.set_true_cfg_scale(scale("true_cfg_scale", defaults.true_cfg_scale()));
  if (reader.IsSet("strength")) {
    defaults.set_strength(
        reader.Number("strength", model_limits::kDefaultStrengthMin, 1, defaults.strength()));
  }
  return reader.Finish();
}

}  // namespace darkroom
