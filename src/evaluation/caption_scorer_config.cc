#include "evaluation/caption_scorer_config.h"

#include "absl/strings/str_cat.h"
#include "evaluation/limits.h"
#include "model/limits.h"
#include "nlohmann/json.hpp"

namespace darkroom {

absl::StatusOr<CaptionScorerConfig> ReadCaptionScorerConfig(ConfigReader& reader) {
  CaptionScorerConfig config;
  reader.Choice("_class_name", {"CaptionScorer"});
  config.image_size =
      static_cast<int>(reader.Int("image_size", 1, evaluation_limits::kScorerSizeMax));
  reader.Int("in_channels", CaptionScorerConfig::kPixelChannels,
             CaptionScorerConfig::kPixelChannels, CaptionScorerConfig::kPixelChannels);
  config.block_channels.clear();
  for (const int64_t channels : reader.Ints("block_out_channels", 1, model_limits::kChannelsMax,
                                            model_limits::kAutoencoderBlocksMax)) {
    config.block_channels.push_back(static_cast<int>(channels));
  }
  config.layers_per_block =
      static_cast<int>(reader.Int("layers_per_block", 1, model_limits::kLayersMax, 1));
  config.norm_groups =
      static_cast<int>(reader.Int("norm_num_groups", 1, model_limits::kChannelsMax));
  config.projection_dim =
      static_cast<int>(reader.Int("projection_dim", 1, evaluation_limits::kProjectionMax));
  for (const int channels : config.block_channels) {
    if (channels % config.norm_groups == 0) continue;
    reader.Problem("norm_num_groups",
                   absl::StrCat("is ", config.norm_groups, ", which does not divide the ", channels,
                                " channels of block_out_channels"));
    break;
  }
  if (config.image_size % config.factor() != 0) {
    reader.Problem("image_size",
                   absl::StrCat("is ", config.image_size, "; with ", config.block_channels.size(),
                                " blocks it must be a multiple of ", config.factor()));
  }
  const Json* text = reader.Object("text_config");
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  ConfigReader text_reader(*text, "config.json (text_config)");
  absl::StatusOr<ClipTextConfig> text_config = ReadClipTextConfig(text_reader);
  if (!text_config.ok()) return text_config.status();
  config.text = *text_config;
  return config;
}

}  // namespace darkroom
