#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "evaluation/caption_scorer_config.h"
#include "evaluation/unit_projection.h"
#include "model/autoencoders/autoencoder_kl_layers.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace darkroom {

// What the image tower sees in one picture, in host memory.
struct ImageFeatures {
  // Of each level after its resnets, before it is downsampled: f32 [height, width, channels].
  struct Level {
    int64_t channels = 0;
    std::vector<float> values;
  };
  std::vector<Level> levels;
  std::vector<float> embedding;  // [projection_dim], length 1
};

// The picture's half of a CaptionScorer: the downward half of an autoencoder (diffusers'
// DownEncoderBlock2D), group normalization, SiLU, the mean over positions, a projection.
//
// Thread: one at a time. Does not allocate on the device after Load.
class ImageTower {
 public:
  // First pass: takes every tensor "image.*" from `weights`, which must outlive the second.
  ImageTower(const CaptionScorerConfig& config, Weights& weights);
  // Device memory for one picture.
  size_t WorkspaceBytes() const;
  // Second pass: packs the tensors.
  absl::Status Load(Ops& ops, Stream& stream);

  // `pixels`: host, f32 [image_size, image_size, 3] in [-1, 1]. REQUIRES: loaded.
  absl::StatusOr<ImageFeatures> Run(absl::Span<const float> pixels, Stream& stream);

 private:
  kl::Canvas MakeCanvas(char* base) const;
  absl::Status Read(const Tensor& tensor, std::vector<float>& values, Stream& stream) const;
  absl::Status RunLevels(kl::Canvas& canvas, ImageFeatures& features, Stream& stream) const;

  CaptionScorerConfig config_;
  kl::Conv conv_in_;
  std::vector<kl::DownBlock> down_blocks_;
  kl::Norm norm_out_;
  UnitProjection projection_;

  Ops* ops_ = nullptr;
  std::unique_ptr<Workspace> workspace_;
  std::vector<char> tables_staging_;
};

}  // namespace darkroom
