#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/model_folder.h"

namespace darkroom {

// A caption of the gallery.
struct Caption {
  std::string text;
  // Neither the model nor the scorer saw it, or a picture of it, in training.
  bool held_out = false;
};

// Reads `file`: {"captions": [{"caption": "red apple", "held_out": false}, ...]}, 2 to
// kCaptionsMax of them, no two alike. INVALID_ARGUMENT (MODEL_INVALID).
absl::StatusOr<std::vector<Caption>> ReadCaptions(ModelFolder& folder, const std::string& file);

// Which captions to generate pictures of, ascending: `count` of them, or all when it is 0, spread
// evenly over the gallery, and over its held-out captions by themselves, so that a small choice has
// both kinds in the gallery's proportion, at least one of each from two on.
// INVALID_ARGUMENT (PROMPTS_OUT_OF_RANGE).
absl::StatusOr<std::vector<size_t>> ChoosePrompts(const std::vector<Caption>& captions, int count);

}  // namespace darkroom
