#include "simulator/step_table.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "simulator/limits.h"

namespace darkroom::simulator {
namespace {

constexpr int64_t kPointSpacing = 250;
constexpr int64_t kFinePointSpacing = 50;
constexpr int64_t kPointsEnd = 24'000;
constexpr double kSecondsMax = 1e6;
constexpr double kUnitsMax = 1e6;

absl::Status Invalid(size_t line, absl::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument, "STEP_TABLE_INVALID",
               absl::StrCat("step table, line ", line, ": ", what));
}

}  // namespace

StepTable StepTable::MeasuredH200() {
  StepTable table;
  table.points_[1] = {{1000, 167'000'000}, {2000, 183'000'000}, {3000, 186'000'000},
                      {4000, 240'000'000}, {8000, 425'000'000}, {16000, 832'000'000}};
  return table;
}

StepTable StepTable::WithoutLaunchCost() {
  StepTable table;
  table.points_[1] = {{1, 3'052'000}, {1000, 55'000'000}, {16000, 835'000'000}};
  return table;
}

StepTable StepTable::FluxH100(double slowness, int degree_max) {
  constexpr double kLaunchNanos = 15.0e6;
  constexpr double kUnitNanos = 38.13e6;
  constexpr double kExchangeNanos = 8.6e6;
  StepTable table;
  for (int degree = 1; degree <= degree_max; degree *= 2) {
    for (const int64_t milli_units : {50, 100'000}) {
      const double work_ns = kUnitNanos * static_cast<double>(milli_units) / 1000.0 / degree;
      const double exchange_ns = degree > 1 ? kExchangeNanos : 0;
      table.points_[degree].emplace_back(
          milli_units, std::llround(slowness * (kLaunchNanos + work_ns + exchange_ns)));
    }
  }
  return table;
}

absl::StatusOr<StepTable> StepTable::Parse(std::string_view text) {
  StepTable table;
  size_t number = 0;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    if (number > kStepTableLinesMax) {
      return Invalid(number, absl::StrCat("more than ", kStepTableLinesMax, " lines"));
    }
    if (line.size() > kLineBytesMax) return Invalid(number, "too long");
    const absl::string_view content = absl::StripAsciiWhitespace(line);
    if (content.empty() || content.front() == '#') continue;
    if (content == "degree,units,seconds") continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(content, ',');
    int64_t degree = 0;
    double units = 0;
    double seconds = 0;
    if (fields.size() != 3 || !absl::SimpleAtoi(fields[0], &degree) ||
        !absl::SimpleAtod(fields[1], &units) || !absl::SimpleAtod(fields[2], &seconds)) {
      return Invalid(number, "must be degree,units,seconds, such as 1,4.56,0.266");
    }
    if (degree < 1 || degree > kDegreeMax || (degree & (degree - 1)) != 0) {
      return Invalid(number, absl::StrCat("degree must be a power of two from 1 to ", kDegreeMax));
    }
    // Written so that NaN fails.
    if (!(units >= 0.001 && units <= kUnitsMax)) {
      return Invalid(number, "units must be 0.001 to 1000000");
    }
    if (!(seconds >= 1e-9 && seconds <= kSecondsMax)) {
      return Invalid(number, "seconds must be positive, 1e-9 to 1000000");
    }
    auto& points = table.points_[static_cast<int>(degree)];
    const std::pair point{std::llround(units * 1000), std::llround(seconds * 1e9)};
    if (!points.empty() &&
        (point.first <= points.back().first || point.second < points.back().second)) {
      return Invalid(number, "units must ascend, and seconds must not descend, within a degree");
    }
    points.push_back(point);
  }
  if (!table.points_.contains(1)) return Invalid(number, "no line of degree 1");
  return table;
}

int64_t StepTable::Nanos(int64_t milli_units, int degree) const {
  auto it = points_.upper_bound(degree);
  const auto& points = (it == points_.begin() ? it : std::prev(it))->second;
  if (milli_units <= points.front().first || points.size() == 1) {
    if (points.size() > 1 || milli_units <= points.front().first) return points.front().second;
    return points.front().second * milli_units / points.front().first;
  }
  auto high =
      std::lower_bound(points.begin(), points.end(), std::pair<int64_t, int64_t>{milli_units, 0});
  if (high == points.end()) --high;
  const auto low = std::prev(high);
  const double slope = static_cast<double>(high->second - low->second) /
                       static_cast<double>(high->first - low->first);
  return low->second + std::llround(slope * static_cast<double>(milli_units - low->first));
}

int64_t StepTable::FastestNanos(int64_t milli_units, int degree_max) const {
  int64_t least_ns = Nanos(milli_units);
  for (const auto& [degree, points] : points_) {
    if (degree <= degree_max) least_ns = std::min(least_ns, Nanos(milli_units, degree));
  }
  return least_ns;
}

std::vector<int> StepTable::degrees() const {
  std::vector<int> degrees;
  for (const auto& [degree, points] : points_) degrees.push_back(degree);
  return degrees;
}

std::vector<std::pair<int64_t, int64_t>> StepTable::Points(int degree) const {
  std::vector<std::pair<int64_t, int64_t>> points;
  const int64_t spacing = points_.size() > 1 ? kFinePointSpacing : kPointSpacing;
  for (int64_t units = spacing; units <= kPointsEnd; units += spacing) {
    points.emplace_back(units, Nanos(units, degree));
  }
  return points;
}

}  // namespace darkroom::simulator
