#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "evaluation/caption_scorer_config.h"
#include "evaluation/captions.h"
#include "evaluation/image_tower.h"
#include "evaluation/rgb_picture.h"
#include "evaluation/unit_projection.h"
#include "model/text_encoders/clip_text_encoder.h"
#include "model/tokenizers/tokenizer.h"
#include "model/weights.h"

namespace darkroom {

// Tells how well a picture shows what a caption says: an image tower and a text tower, trained
// together so that a picture and its caption point the same way. A folder with config.json,
// model.safetensors, tokenizer/ and captions.json, the gallery that pictures are looked up in. All
// is computed in float32.
//
// Thread: one at a time.
class CaptionScorer {
 public:
  // Reads and packs everything, the gallery's captions included. INVALID_ARGUMENT (MODEL_INVALID)
  // as for a model: files, fields and tensors that are missing, wrong or left over, by name.
  // `ops` must outlive the scorer.
  static absl::StatusOr<std::unique_ptr<CaptionScorer>> Open(const std::string& path, Ops& ops);

  const CaptionScorerConfig& config() const { return config_; }
  const std::vector<Caption>& captions() const { return captions_; }
  // SHA-256 over all its files: figures of two scorers cannot be compared.
  const std::string& digest() const { return digest_; }

  // Whether pictures of this size can be looked at: square, image_size or a multiple of it up to
  // kReductionMax. INVALID_ARGUMENT (SCORER_SIZE_MISMATCH) with the nearest size that can.
  absl::Status CheckSize(int width, int height) const;

  // A larger picture is reduced to image_size first, by the mean of every block of pixels.
  absl::StatusOr<ImageFeatures> Look(const RgbPicture& picture);

  // [projection_dim], length 1. Captions of too many tokens are cut, as CLIP's are.
  absl::StatusOr<std::vector<std::vector<float>>> Read(absl::Span<const std::string> captions);

  // The cosine of a picture with every caption of the gallery, in its order.
  std::vector<float> Score(const ImageFeatures& features) const;

 private:
  CaptionScorer(const CaptionScorerConfig& config, Weights weights, Ops& ops);
  absl::Status Load();

  CaptionScorerConfig config_;
  Weights weights_;  // rows of the text tower's table are read there
  Ops& ops_;
  std::unique_ptr<Stream> stream_;
  ImageTower image_;
  ClipTextEncoder text_;
  UnitProjection text_projection_;
  std::unique_ptr<Tokenizer> tokenizer_;
  int tokens_ = 0;
  std::string digest_;
  std::vector<Caption> captions_;
  std::vector<std::vector<float>> gallery_;  // of captions_
};

// A perceptual distance of the form of LPIPS (Zhang, Isola, Efros, Shechtman, Wang, "The
// Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, equation 1, all
// weights 1) on the image tower: features of every level, scaled to length 1 over channels at each
// position; squared differences summed over channels; the mean over positions, then over levels.
// 0 for equal pictures, at most 4. REQUIRES: both by one scorer.
double PerceptualDistance(const ImageFeatures& a, const ImageFeatures& b);

}  // namespace darkroom
