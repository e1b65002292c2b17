#include "model/autoencoders/autoencoder_kl_config.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/limits.h"

namespace darkroom {
namespace {

// All levels are of the one supported class.
void CheckBlocks(ConfigReader& reader, std::string_view field, std::string_view supported,
                 size_t levels) {
  const std::vector<std::string> blocks =
      reader.Strings(field, model_limits::kAutoencoderBlocksMax);
  if (blocks.size() != levels) {
    reader.Problem(field, "must have as many entries as block_out_channels");
  }
  for (const std::string& block : blocks) {
    if (block == supported) continue;
    reader.Problem(field, absl::StrCat("has \"", block, "\", which is not supported; supported: \"",
                                       std::string(supported), "\""));
    break;
  }
}

}  // namespace

absl::StatusOr<AutoencoderKlConfig> ReadAutoencoderKlConfig(ConfigReader& reader) {
  AutoencoderKlConfig config;
  config.latent_channels =
      static_cast<int>(reader.Int("latent_channels", 1, model_limits::kLatentChannelsMax, 4));
  config.block_channels.clear();
  for (const int64_t channels : reader.Ints("block_out_channels", 1, model_limits::kChannelsMax,
                                            model_limits::kAutoencoderBlocksMax)) {
    config.block_channels.push_back(static_cast<int>(channels));
  }
  config.layers_per_block =
      static_cast<int>(reader.Int("layers_per_block", 1, model_limits::kLayersMax, 1));
  config.norm_groups =
      static_cast<int>(reader.Int("norm_num_groups", 1, model_limits::kChannelsMax, 32));
  config.mid_attention = reader.Bool("mid_block_add_attention", true);
  config.quant_conv = reader.Bool("use_quant_conv", true);
  config.post_quant_conv = reader.Bool("use_post_quant_conv", true);
  config.scaling_factor = reader.Number("scaling_factor", 1e-6, 1e6, 0.18215);
  config.shift_factor = reader.Number("shift_factor", -1e6, 1e6, 0.0);
  constexpr int kPixels = AutoencoderKlConfig::kPixelChannels;
  reader.Int("in_channels", kPixels, kPixels, kPixels);
  reader.Int("out_channels", kPixels, kPixels, kPixels);
  reader.Choice("act_fn", {"silu"});
  reader.OnlyUnset("latents_mean");
  reader.OnlyUnset("latents_std");
  config.sample_size =
      static_cast<int>(reader.Int("sample_size", 1, model_limits::kTrainingSizePixelsMax, 0));
  // Of diffusers' half precision.
  reader.Ignore({"force_upcast"});

  CheckBlocks(reader, "down_block_types", "DownEncoderBlock2D", config.block_channels.size());
  CheckBlocks(reader, "up_block_types", "UpDecoderBlock2D", config.block_channels.size());
  for (const int channels : config.block_channels) {
    if (channels % config.norm_groups != 0) {
      reader.Problem("norm_num_groups",
                     absl::StrCat("is ", config.norm_groups, ", which does not divide the ",
                                  channels, " channels of block_out_channels"));
      break;
    }
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return config;
}

}  // namespace darkroom
