#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/v1/model.pb.h"

namespace darkroom {

// A way to run the same weights, which is compared with the exact one. Today a mode is a precision
// that the model is served with.
struct Mode {
  std::string_view name;
  std::string_view precision;  // Model.precision
};

inline constexpr std::string_view kExactMode = "exact";

// All there are, the exact one first.
absl::Span<const Mode> KnownModes();

// A mode that was asked for.
struct ModeChoice {
  Mode mode;
  std::string model;  // "models/{model}" that runs it; empty: whichever does
};

// "exact,bf16" or, with the models that run them, "exact=emoji,bf16=emoji-bf16". INVALID_ARGUMENT:
// MODE_UNKNOWN with the known ones, MODE_REPEATED, MODES_EMPTY.
absl::StatusOr<std::vector<ModeChoice>> ParseModes(std::string_view text);

// The model among `served` that runs `choice` with the weights of `model` (a name; or empty where
// all that is served has the same weights): the one that was named, else `model` itself when it
// has the mode's precision, else the first other of the same digest that has. Weights and precision
// are checked in every case. NOT_FOUND: MODEL_NOT_FOUND; MODE_NOT_SERVED, with what is served and
// what to do. INVALID_ARGUMENT: MODEL_AMBIGUOUS, MODE_MODEL_MISMATCH. FAILED_PRECONDITION
// (MODEL_NOT_READY) while it is loading, or when it could not be loaded.
absl::StatusOr<v1::Model> FindModel(const ModeChoice& choice, const std::string& model,
                                    absl::Span<const v1::Model> served);

}  // namespace darkroom
