#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "darkroom/pipeline.h"

namespace darkroom {

// What a packed denoising step costs by its size, as the scheduler's first guess.
struct CostCurve {
  std::vector<v1::ModelLoaded::CostPoint> points;  // ascending by tokens
  // Beyond this throughput rises by less than 5%; the largest size measured when it never stops
  // rising. 0 when nothing could be measured.
  int64_t knee_tokens = 0;
  // What encoding one job takes; 0 when nothing could be measured.
  int64_t encode_ns = 0;
};

// Tokens of one job's step at the model's own guidance, as the daemon counts them: those of the
// picture and of the longest prompt, in both branches where guidance is classifier-free.
int64_t StepTokens(const v1::Model& model, int32_t token_pixels, int32_t width, int32_t height);

// The knee of ascending points.
int64_t KneeTokens(const std::vector<v1::ModelLoaded::CostPoint>& points);

// Runs steps of doubling size, one job at the model's smallest size first, until the slots or
// `budget_ns` are used up; a step that would overrun, judged by the one before, is not begun. Each
// size runs three times and the fastest counts: the first one may prepare kernels. A failing step
// ends the measurement, never the load. REQUIRES: all slots closed; they are again on return.
CostCurve MeasureCost(Pipeline& pipeline, int slots, int64_t step_tokens_max, int64_t budget_ns,
                      const Clock& clock);

}  // namespace darkroom
