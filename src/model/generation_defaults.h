#pragma once

#include "absl/status/status.h"
#include "darkroom/v1/model.pb.h"
#include "model/model_folder.h"

namespace darkroom {

// What the makers of a model recommend: `generation_config.json` beside model_index.json, which
// need not be there, with arguments of diffusers' pipelines by their names: num_inference_steps,
// guidance_scale, true_cfg_scale, strength. They replace the family's defaults in `model`, whose
// limits must be set; requests go before both. Read it after the model's digest was taken: it
// changes no picture of a request that says what it wants.
// INVALID_ARGUMENT, MODEL_INVALID, naming the file and every wrong field.
absl::Status ReadGenerationDefaults(ModelFolder& folder, v1::Model& model);

}  // namespace darkroom
