#include "evaluation/report.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::ElementsAre;

Report TwoModes() {
  Report report;
  report.prompts = 4;
  report.gallery = 200;
  report.scorer_digest = "abc";
  ModeReport& exact = report.modes.emplace_back();
  exact.description = {"exact", "models/small", "f32", "n1"};
  exact.compute_seconds = {2.0, 3.0};
  exact.wall_seconds = {4.0, 5.0};
  exact.speed_up = 1.0;
  exact.training = {3, 2, 3, 0.75, 0.5};
  exact.held_out = {1, 0, 1, 0.25, 0.125};
  exact.mean_cosine_others = -0.0625;
  ModeReport& bf16 = report.modes.emplace_back(exact);
  bf16.description = {"bf16", "models/small-bf16", "bf16", "n2"};
  bf16.speed_up = 1.5;
  bf16.difference = {1, MeanAndWorst{40.25, 35.5}, {0.99, 0.97}, {0.001, 0.002}};
  return report;
}

std::map<std::string, std::vector<std::string>> RowsOf(const Report& report) {
  std::map<std::string, std::vector<std::string>> rows;
  for (std::vector<std::string> row : ReportTable(report)) {
    const std::string name = row.front();
    row.erase(row.begin());
    rows[name] = row;
  }
  return rows;
}

TEST(ReportTest, ARowForEveryFigure) {
  auto rows = RowsOf(TwoModes());
  EXPECT_THAT(rows.at("FIGURE"), ElementsAre("exact", "bf16"));
  EXPECT_THAT(rows.at("model"), ElementsAre("models/small", "models/small-bf16"));
  EXPECT_THAT(rows.at("pictures"), ElementsAre("4", "4"));
  EXPECT_THAT(rows.at("compute time, p95"), ElementsAre("3.000 s", "3.000 s"));
  EXPECT_THAT(rows.at("speed-up"), ElementsAre("1.00", "1.50"));
  EXPECT_THAT(rows.at("identical to exact"), ElementsAre("-", "1 of 4 (25.0%)"));
  EXPECT_THAT(rows.at("PSNR, dB, mean of those that differ"), ElementsAre("-", "40.25"));
  EXPECT_THAT(rows.at("PSNR, dB, worst"), ElementsAre("-", "35.50"));
  EXPECT_THAT(rows.at("SSIM, worst"), ElementsAre("-", "0.97000"));
  EXPECT_THAT(rows.at("perceptual distance, worst"), ElementsAre("-", "0.00200"));
  EXPECT_THAT(rows.at("top-1, training captions"), ElementsAre("2 of 3 (66.7%)", "2 of 3 (66.7%)"));
  EXPECT_THAT(rows.at("top-5, held-out captions"),
              ElementsAre("1 of 1 (100.0%)", "1 of 1 (100.0%)"));
  EXPECT_THAT(rows.at("cosine, other captions"), ElementsAre("-0.062", "-0.062"));
}

TEST(ReportTest, WhatThereIsNoneOfIsADash) {
  Report report = TwoModes();
  report.modes[1].difference->psnr.reset();  // all identical
  report.modes[1].held_out = {};
  report.modes[1].speed_up.reset();
  auto rows = RowsOf(report);
  EXPECT_EQ(rows.at("PSNR, dB, worst")[1], "-");
  EXPECT_EQ(rows.at("top-1, held-out captions")[1], "-");
  EXPECT_EQ(rows.at("cosine, held-out captions")[1], "-");
  EXPECT_EQ(rows.at("speed-up")[1], "-");
  const nlohmann::json json = nlohmann::json::parse(ReportJson(report));
  EXPECT_TRUE(json["modes"][1]["difference"]["psnr"].is_null());
  EXPECT_TRUE(json["modes"][1]["held_out"]["mean_cosine"].is_null());
  EXPECT_TRUE(json["modes"][1]["speed_up"].is_null());
}

TEST(ReportTest, JsonHasAllOfIt) {
  const std::string text = ReportJson(TwoModes());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["prompts"], 4);
  EXPECT_EQ(json["gallery"], 200);
  EXPECT_EQ(json["scorer_digest"], "abc");
  ASSERT_EQ(json["modes"].size(), 2u);
  EXPECT_TRUE(json["modes"][0]["difference"].is_null());
  const nlohmann::json& mode = json["modes"][1];
  EXPECT_EQ(mode["name"], "bf16");
  EXPECT_EQ(mode["numerics_id"], "n2");
  EXPECT_EQ(mode["compute_seconds"]["median"], 2.0);
  EXPECT_EQ(mode["wall_seconds"]["p95"], 5.0);
  EXPECT_EQ(mode["difference"]["identical"], 1);
  EXPECT_EQ(mode["difference"]["psnr"]["worst"], 35.5);
  EXPECT_EQ(mode["difference"]["ssim"]["mean"], 0.99);
  EXPECT_EQ(mode["difference"]["perceptual"]["worst"], 0.002);
  EXPECT_EQ(mode["training"]["top5"], 3);
  EXPECT_EQ(mode["held_out"]["mean_reciprocal_rank"], 0.25);
  EXPECT_EQ(mode["mean_cosine_others"], -0.0625);
}

}  // namespace
}  // namespace darkroom
