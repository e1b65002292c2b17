#include "evaluation/evaluation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "evaluation/mode.h"
#include "evaluation/picture_metrics.h"
#include "evaluation/statistics.h"

namespace darkroom {
namespace {

Spread SpreadOf(const std::vector<double>& values) {
  return {Median(values), Percentile95(values)};
}

MeanAndWorst LowIsWorst(const std::vector<double>& values) {
  return {Mean(values), values.empty() ? 0 : *std::min_element(values.begin(), values.end())};
}

MeanAndWorst HighIsWorst(const std::vector<double>& values) {
  return {Mean(values), values.empty() ? 0 : *std::max_element(values.begin(), values.end())};
}

}  // namespace

Evaluation::Evaluation(CaptionScorer& scorer, std::vector<ModeDescription> modes)
    : scorer_(scorer), modes_(std::move(modes)), collected_(modes_.size()) {
  for (size_t i = 0; i < modes_.size(); ++i) {
    if (modes_[i].name == kExactMode) exact_ = i;
  }
}

absl::StatusOr<Evaluation::Compared> Evaluation::Compare(
    const RgbPicture& picture, const ImageFeatures& features, const RgbPicture& exact,
    const ImageFeatures& exact_features) const {
  const absl::StatusOr<double> psnr = Psnr(picture, exact);
  if (!psnr.ok()) return psnr.status();
  const absl::StatusOr<double> ssim = Ssim(picture, exact);
  if (!ssim.ok()) return ssim.status();
  return Compared{*psnr, *ssim, PerceptualDistance(features, exact_features)};
}

void Evaluation::Keep(size_t caption, const TimedPicture& picture, const ImageFeatures& features,
                      Collected& collected) const {
  collected.compute_seconds.push_back(picture.compute_seconds);
  collected.wall_seconds.push_back(picture.wall_seconds);
  const std::vector<float> scores = scorer_.Score(features);
  RetrievalFigures& figures =
      scorer_.captions()[caption].held_out ? collected.held_out : collected.training;
  figures.Add(RankOf(scores, caption), scores[caption]);
  const double all = std::accumulate(scores.begin(), scores.end(), 0.0);
  collected.cosine_others_sum += (all - scores[caption]) / static_cast<double>(scores.size() - 1);
}

absl::Status Evaluation::Add(size_t caption, absl::Span<const TimedPicture> pictures) {
  std::vector<ImageFeatures> features;
  for (const TimedPicture& picture : pictures) {
    absl::StatusOr<ImageFeatures> seen = scorer_.Look(picture.picture);
    if (!seen.ok()) return seen.status();
    features.push_back(*std::move(seen));
  }
  // All that can fail comes before anything is kept.
  std::vector<std::optional<Compared>> compared(pictures.size());
  for (size_t i = 0; exact_ && i < pictures.size(); ++i) {
    if (i == *exact_) continue;
    absl::StatusOr<Compared> result =
        Compare(pictures[i].picture, features[i], pictures[*exact_].picture, features[*exact_]);
    if (!result.ok()) return result.status();
    compared[i] = *result;
  }
  ++prompts_;
  for (size_t i = 0; i < pictures.size(); ++i) {
    Collected& collected = collected_[i];
    Keep(caption, pictures[i], features[i], collected);
    if (!compared[i]) continue;
    if (std::isinf(compared[i]->psnr)) {
      ++collected.identical;
    } else {
      collected.psnr.push_back(compared[i]->psnr);
    }
    collected.ssim.push_back(compared[i]->ssim);
    collected.perceptual.push_back(compared[i]->perceptual);
  }
  return absl::OkStatus();
}

ModeReport Evaluation::ReportOf(size_t mode) const {
  const Collected& collected = collected_[mode];
  ModeReport report;
  report.description = modes_[mode];
  report.compute_seconds = SpreadOf(collected.compute_seconds);
  report.wall_seconds = SpreadOf(collected.wall_seconds);
  report.training = collected.training;
  report.held_out = collected.held_out;
  if (prompts_ > 0) report.mean_cosine_others = collected.cosine_others_sum / prompts_;
  if (!exact_ || prompts_ == 0) return report;
  if (report.compute_seconds.median > 0) {
    report.speed_up = Median(collected_[*exact_].compute_seconds) / report.compute_seconds.median;
  }
  if (mode == *exact_) return report;
  Difference& difference = report.difference.emplace();
  difference.identical = collected.identical;
  if (!collected.psnr.empty()) difference.psnr = LowIsWorst(collected.psnr);
  difference.ssim = LowIsWorst(collected.ssim);
  difference.perceptual = HighIsWorst(collected.perceptual);
  return report;
}

Report Evaluation::MakeReport() const {
  Report report;
  report.prompts = prompts_;
  report.gallery = static_cast<int>(scorer_.captions().size());
  report.scorer_digest = scorer_.digest();
  for (size_t i = 0; i < modes_.size(); ++i) report.modes.push_back(ReportOf(i));
  return report;
}

}  // namespace darkroom
