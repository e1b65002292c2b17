#include "evaluation/report.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNone[] = "-";

std::string Seconds(double seconds) { return absl::StrFormat("%.3f s", seconds); }

// "58 of 60 (96.7%)"
std::string Share(int count, int of) {
  if (of == 0) return kNone;
  return absl::StrFormat("%d of %d (%.1f%%)", count, of, 100.0 * count / of);
}

// Of what there may be none of.
std::string Number(int decimals, const std::optional<double>& value) {
  return value ? absl::StrFormat("%.*f", decimals, *value) : kNone;
}

using Cell = std::function<std::string(const ModeReport&)>;

// A figure of the difference to the exact mode.
template <typename Get>
Cell OfDifference(int decimals, Get get) {
  return [decimals, get](const ModeReport& mode) {
    std::optional<double> value;
    if (mode.difference) value = get(*mode.difference);
    return Number(decimals, value);
  };
}

std::optional<double> MeanOf(const std::optional<MeanAndWorst>& figure) {
  return figure ? std::optional(figure->mean) : std::nullopt;
}
std::optional<double> WorstOf(const std::optional<MeanAndWorst>& figure) {
  return figure ? std::optional(figure->worst) : std::nullopt;
}

std::vector<std::pair<std::string, Cell>> DifferenceRows() {
  return {
      {"identical to exact",
       [](const ModeReport& mode) {
         const int pictures = mode.training.pictures + mode.held_out.pictures;
         return mode.difference ? Share(mode.difference->identical, pictures) : kNone;
       }},
      {"PSNR, dB, mean of those that differ",
       OfDifference(2, [](const Difference& d) { return MeanOf(d.psnr); })},
      {"PSNR, dB, worst", OfDifference(2, [](const Difference& d) { return WorstOf(d.psnr); })},
      {"SSIM, mean", OfDifference(5, [](const Difference& d) { return d.ssim.mean; })},
      {"SSIM, worst", OfDifference(5, [](const Difference& d) { return d.ssim.worst; })},
      {"perceptual distance, mean",
       OfDifference(5, [](const Difference& d) { return d.perceptual.mean; })},
      {"perceptual distance, worst",
       OfDifference(5, [](const Difference& d) { return d.perceptual.worst; })},
  };
}

// Rows about one kind of captions.
std::vector<std::pair<std::string, Cell>> RetrievalRows(const std::string& kind,
                                                        RetrievalFigures ModeReport::*figures) {
  const auto number = [figures](double RetrievalFigures::*field) {
    return [figures, field](const ModeReport& mode) {
      const RetrievalFigures& of = mode.*figures;
      return of.pictures == 0 ? kNone : absl::StrFormat("%.3f", of.*field);
    };
  };
  const auto share = [figures](int RetrievalFigures::*field) {
    return [figures, field](const ModeReport& mode) {
      return Share((mode.*figures).*field, (mode.*figures).pictures);
    };
  };
  return {
      {absl::StrCat("top-1, ", kind), share(&RetrievalFigures::top1)},
      {absl::StrCat("top-5, ", kind), share(&RetrievalFigures::top5)},
      {absl::StrCat("mean reciprocal rank, ", kind),
       number(&RetrievalFigures::mean_reciprocal_rank)},
      {absl::StrCat("cosine, ", kind), number(&RetrievalFigures::mean_cosine)},
  };
}

std::vector<std::pair<std::string, Cell>> Rows() {
  std::vector<std::pair<std::string, Cell>> rows = {
      {"model", [](const ModeReport& mode) { return mode.description.model; }},
      {"precision", [](const ModeReport& mode) { return mode.description.precision; }},
      {"pictures",
       [](const ModeReport& mode) {
         return absl::StrCat(mode.training.pictures + mode.held_out.pictures);
       }},
      {"compute time, median",
       [](const ModeReport& mode) { return Seconds(mode.compute_seconds.median); }},
      {"compute time, p95",
       [](const ModeReport& mode) { return Seconds(mode.compute_seconds.p95); }},
      {"wall time, median",
       [](const ModeReport& mode) { return Seconds(mode.wall_seconds.median); }},
      {"wall time, p95", [](const ModeReport& mode) { return Seconds(mode.wall_seconds.p95); }},
      {"speed-up", [](const ModeReport& mode) { return Number(2, mode.speed_up); }},
  };
  for (auto& row : DifferenceRows()) rows.push_back(std::move(row));
  for (auto& row : RetrievalRows("training captions", &ModeReport::training)) {
    rows.push_back(std::move(row));
  }
  for (auto& row : RetrievalRows("held-out captions", &ModeReport::held_out)) {
    rows.push_back(std::move(row));
  }
  rows.emplace_back("cosine, other captions", [](const ModeReport& mode) {
    return absl::StrFormat("%.3f", mode.mean_cosine_others);
  });
  return rows;
}

Json JsonOf(const Spread& spread) { return {{"median", spread.median}, {"p95", spread.p95}}; }

Json JsonOf(const MeanAndWorst& figure) { return {{"mean", figure.mean}, {"worst", figure.worst}}; }

Json JsonOf(const RetrievalFigures& figures) {
  Json json = {{"pictures", figures.pictures}, {"top1", figures.top1}, {"top5", figures.top5}};
  const bool any = figures.pictures > 0;
  json["mean_reciprocal_rank"] = any ? Json(figures.mean_reciprocal_rank) : Json();
  json["mean_cosine"] = any ? Json(figures.mean_cosine) : Json();
  return json;
}

Json JsonOf(const ModeReport& mode) {
  Json json = {{"name", mode.description.name},
               {"model", mode.description.model},
               {"precision", mode.description.precision},
               {"numerics_id", mode.description.numerics_id},
               {"compute_seconds", JsonOf(mode.compute_seconds)},
               {"wall_seconds", JsonOf(mode.wall_seconds)}};
  json["speed_up"] = mode.speed_up ? Json(*mode.speed_up) : Json();
  json["difference"] = nullptr;
  if (mode.difference) {
    const Difference& difference = *mode.difference;
    json["difference"] = {{"identical", difference.identical},
                          {"psnr", difference.psnr ? JsonOf(*difference.psnr) : Json()},
                          {"ssim", JsonOf(difference.ssim)},
                          {"perceptual", JsonOf(difference.perceptual)}};
  }
  json["training"] = JsonOf(mode.training);
  json["held_out"] = JsonOf(mode.held_out);
  json["mean_cosine_others"] = mode.mean_cosine_others;
  return json;
}

}  // namespace

std::vector<std::vector<std::string>> ReportTable(const Report& report) {
  std::vector<std::vector<std::string>> table = {{"FIGURE"}};
  for (const ModeReport& mode : report.modes) table.front().push_back(mode.description.name);
  for (const auto& [name, cell] : Rows()) {
    std::vector<std::string>& row = table.emplace_back();
    row.push_back(name);
    for (const ModeReport& mode : report.modes) row.push_back(cell(mode));
  }
  return table;
}

std::string ReportJson(const Report& report) {
  Json json = {{"prompts", report.prompts},
               {"gallery", report.gallery},
               {"settings", report.settings},
               {"scorer_digest", report.scorer_digest},
               {"modes", Json::array()}};
  for (const ModeReport& mode : report.modes) json["modes"].push_back(JsonOf(mode));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace darkroom
