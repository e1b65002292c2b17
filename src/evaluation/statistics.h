#pragma once

#include <vector>

namespace darkroom {

// Numbers that were collected, in any order. All are 0 of none.

// The middle one, or the mean of the two in the middle.
double Median(std::vector<double> values);
// The smallest number that at least 95 of 100 do not exceed (nearest rank).
double Percentile95(std::vector<double> values);
double Mean(const std::vector<double>& values);

}  // namespace darkroom
