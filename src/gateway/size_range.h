#pragma once

#include <algorithm>
#include <cstdint>

#include "darkroom/v1/model.pb.h"

namespace darkroom {

// The bounds of a model's sizes, whatever a worker reported.
struct SizeRange {
  int64_t min = 1;
  int64_t max = 1;
  int64_t multiple = 1;

  explicit SizeRange(const v1::Model::Limits& model)
      : min(std::max(model.size_min(), 1)),
        max(std::max<int64_t>(model.size_max(), min)),
        multiple(std::max(model.size_multiple_of(), 1)) {}

  bool Contains(int64_t value) const {
    return value >= min && value <= max && (value - min) % multiple == 0;
  }
  int64_t Nearest(int64_t value) const {
    const int64_t steps = (std::clamp(value, min, max) - min + multiple / 2) / multiple;
    return min + std::min(steps, (max - min) / multiple) * multiple;
  }
};

}  // namespace darkroom
