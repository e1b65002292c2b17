#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "model/config_reader.h"

namespace darkroom {

// The fields of an AutoencoderKL's configuration that change what encoding and decoding compute,
// and the size of the pictures it was trained on.
struct AutoencoderKlConfig {
  // Red, green, blue.
  static constexpr int kPixelChannels = 3;

  int latent_channels = 4;
  // Channels of each level, from pixels to latents.
  std::vector<int> block_channels = {64};
  int layers_per_block = 1;
  int norm_groups = 32;
  bool mid_attention = true;
  bool quant_conv = true;
  bool post_quant_conv = true;
  double scaling_factor = 0.18215;
  double shift_factor = 0;
  // Pixels, each side; 0: not said.
  int sample_size = 0;

  // Pixels per latent, in each direction.
  int factor() const { return 1 << (block_channels.size() - 1); }
};

absl::StatusOr<AutoencoderKlConfig> ReadAutoencoderKlConfig(ConfigReader& reader);

}  // namespace darkroom
