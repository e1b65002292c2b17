#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/pipeline.h"
#include "model/config_reader.h"
#include "model/diffusion_pipeline.h"
#include "model/model_folder.h"
#include "model/weights.h"
#include "nlohmann/json.hpp"

// What loading a pipeline of any family has in common.
namespace darkroom {

// Parses one component's configuration with its own schema.
template <typename Config>
absl::StatusOr<Config> ReadConfig(ModelFolder& folder, const std::string& file,
                                  absl::StatusOr<Config> (*read)(ConfigReader&)) {
  absl::StatusOr<Json> json = folder.ReadJson(file);
  if (!json.ok()) return json.status();
  ConfigReader reader(*json, file);
  return read(reader);
}

// The problems of all components' tensors as one error.
absl::Status CheckAll(absl::Span<const Weights* const> components);

// Reads every file once, for the digest, several at a time, and tells of the progress. Files that
// `options.packed` knows are not read.
void HashAll(ModelFolder& folder, absl::Span<const Weights* const> components,
             const LoadOptions& options);

// Calls `pack`, which packs all components, so that their weights are shared with other workers
// where `options` wants that. FAILED_PRECONDITION (SHARED_WEIGHTS_MISMATCH) when `options.packed`
// does not fit after all. REQUIRES: HashAll.
absl::Status PackShared(const ModelFolder& folder, absl::Span<const Weights* const> components,
                        const LoadOptions& options, Ops& ops,
                        absl::FunctionRef<absl::Status()> pack);

// The number of weights in all components.
int64_t CountParameters(absl::Span<const Weights* const> components);

// Fills in slots, sizes, the largest packed step and all that is told of a model but what only its
// family knows: tasks, classes, guidance and the defaults of steps and guidance. `native`: side of
// the pictures that it was trained on, in pixels. RESOURCE_EXHAUSTED (MODEL_TOO_LARGE) if not even
// one of those fits. REQUIRES: denoiser, decoder and samplers are there.
absl::Status Describe(ModelFolder& folder, const LoadOptions& options, int native, Ops& ops,
                      DiffusionPipelineParts& parts);

// One for each family.
absl::StatusOr<std::unique_ptr<Pipeline>> LoadDitPipeline(ModelFolder& folder,
                                                          const LoadOptions& options, Ops& ops);
absl::StatusOr<std::unique_ptr<Pipeline>> LoadFluxPipeline(ModelFolder& folder,
                                                           const LoadOptions& options, Ops& ops);

}  // namespace darkroom
