#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "darkroom/pipeline.h"
#include "model/limits.h"
#include "model/load_parts.h"
#include "model/model_error.h"

namespace darkroom {
namespace {

// Each in a file of its own.
struct Family {
  std::string_view name;
  absl::StatusOr<std::unique_ptr<Pipeline>> (*load)(ModelFolder& folder, const LoadOptions& options,
                                                    Ops& ops);
};
constexpr Family kFamilies[] = {
    {"DiTPipeline", &LoadDitPipeline},
    {"FluxPipeline", &LoadFluxPipeline},
};

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

}  // namespace

absl::StatusOr<std::unique_ptr<Pipeline>> LoadPipeline(const std::string& path,
                                                       const LoadOptions& options, Ops& ops) {
  if (absl::Status status = CheckOptions(options, ops); !status.ok()) return status;
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(path);
  if (!folder.ok()) return folder.status();
  for (const Family& family : kFamilies) {
    if (folder->family() == family.name) return family.load(*folder, options, ops);
  }
  return ModelInvalid(
      "model_index.json",
      absl::StrCat("_class_name is ", folder->family(), ", which is not supported; supported: ",
                   absl::StrJoin(kFamilies, ", ", [](std::string* out, const Family& family) {
                     absl::StrAppend(out, std::string(family.name));
                   })));
}

}  // namespace darkroom
