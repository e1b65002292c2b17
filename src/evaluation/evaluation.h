#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "evaluation/caption_scorer.h"
#include "evaluation/retrieval.h"
#include "evaluation/rgb_picture.h"

namespace darkroom {

// What runs a mode.
struct ModeDescription {
  std::string name;         // "exact"
  std::string model;        // "models/{model}"
  std::string precision;    // "f32"
  std::string numerics_id;  // see Generation.numerics_id
};

// A picture that a mode made, and what it took.
struct TimedPicture {
  RgbPicture picture;
  double compute_seconds = 0;  // the server's: the picture's share of all its stages' batches
  double wall_seconds = 0;     // the client's: from the request to the last byte
};

// Of one picture each.
struct Spread {
  double median = 0;
  double p95 = 0;
};

// A measure over pictures.
struct MeanAndWorst {
  double mean = 0;
  double worst = 0;
};

// How far a mode's pictures are from the exact ones of the same prompt and seed.
struct Difference {
  int identical = 0;  // equal in every pixel
  // Decibels, over the pictures that differ: that of equal ones is infinite. None when all are
  // equal.
  std::optional<MeanAndWorst> psnr;
  MeanAndWorst ssim;
  MeanAndWorst perceptual;
};

struct ModeReport {
  ModeDescription description;
  Spread compute_seconds;
  Spread wall_seconds;
  // Of median compute seconds, over the exact mode's; none without that.
  std::optional<double> speed_up;
  // None for the exact mode, and without it.
  std::optional<Difference> difference;
  RetrievalFigures training;
  RetrievalFigures held_out;
  // Of pictures with the captions that are not theirs: what chance alone gives.
  double mean_cosine_others = 0;
};

struct Report {
  int prompts = 0;
  int gallery = 0;
  std::string settings;  // how the pictures were sampled, for people; the caller's to fill in
  std::string scorer_digest;
  std::vector<ModeReport> modes;
};

// Collects the pictures that several modes made of the same prompts, and says how good they are. A
// picture is measured when it comes and not kept.
//
// Thread: one at a time.
class Evaluation {
 public:
  // `scorer` must outlive this object.
  Evaluation(CaptionScorer& scorer, std::vector<ModeDescription> modes);

  // One prompt's pictures, one of each mode in their order. `caption`: which of the scorer's
  // captions the prompt was. An error leaves the figures as they were: pictures that the scorer
  // cannot look at (SCORER_SIZE_MISMATCH), that differ in size, or are too small to be compared.
  absl::Status Add(size_t caption, absl::Span<const TimedPicture> pictures);

  Report MakeReport() const;

 private:
  struct Collected {
    std::vector<double> compute_seconds, wall_seconds, psnr, ssim, perceptual;
    int identical = 0;
    RetrievalFigures training, held_out;
    double cosine_others_sum = 0;
  };
  struct Compared {
    double psnr, ssim, perceptual;
  };

  absl::StatusOr<Compared> Compare(const RgbPicture& picture, const ImageFeatures& features,
                                   const RgbPicture& exact,
                                   const ImageFeatures& exact_features) const;
  void Keep(size_t caption, const TimedPicture& picture, const ImageFeatures& features,
            Collected& collected) const;
  ModeReport ReportOf(size_t mode) const;

  CaptionScorer& scorer_;
  const std::vector<ModeDescription> modes_;
  std::optional<size_t> exact_;  // among modes_
  int prompts_ = 0;
  std::vector<Collected> collected_;  // by mode
};

}  // namespace darkroom
