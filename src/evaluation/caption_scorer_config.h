#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "model/config_reader.h"
#include "model/text_encoders/clip_text_encoder.h"

namespace darkroom {

// The fields of a CaptionScorer's config.json.
struct CaptionScorerConfig {
  // Red, green, blue.
  static constexpr int kPixelChannels = 3;

  // Pixels, each side, of what the image tower looks at.
  int image_size = 64;
  // Channels of each level, the finest first.
  std::vector<int> block_channels = {32};
  int layers_per_block = 1;
  int norm_groups = 8;
  // Of the space that pictures and captions share.
  int projection_dim = 128;
  ClipTextConfig text;

  // Pixels per position of the last level, in each direction.
  int factor() const { return 1 << (block_channels.size() - 1); }
};

// INVALID_ARGUMENT (MODEL_INVALID) with every problem.
absl::StatusOr<CaptionScorerConfig> ReadCaptionScorerConfig(ConfigReader& reader);

}  // namespace darkroom
