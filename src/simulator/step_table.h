#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom::simulator {

// How long one denoising step takes, by the batch's work in milli-units (a 512x512 picture is 1000)
// and by how many accelerators share it. Between measured points linear; below the first point as
// long as there, because a small step is launch-bound; beyond the last along the last segment.
class StepTable {
 public:
  // Qwen-Image on one H200 (SGLang, pull request 22183), batches of 512x512.
  static StepTable MeasuredH200();
  // A step without launch cost, .003 s + .052 s a unit, for which packing cannot gain.
  static StepTable WithoutLaunchCost();
  // FLUX.1-dev on 1, 2, 4 and 8 H100 with sequence parallelism: `slowness` times 15.0 ms + 38.1 ms
  // a unit / degree, and 8.6 ms more on several. At 1 that is 4.30, 2.60 and 1.63 s for 28 steps of
  // 1024x1024 on 1, 2 and 4 (xDiT, compiled) and TetriServe's TFLOP by resolution; degree 8 and the
  // other sizes are extrapolated. TetriServe's own table is not published; at 1.43, which is what
  // an engine that does not compile takes, its published attainments come out (docs/perf).
  static constexpr double kEagerSlowness = 1.43;
  static StepTable FluxH100(double slowness = kEagerSlowness, int degree_max = 8);
  // Lines `degree,units,seconds` under that header, units of 512x512. INVALID_ARGUMENT
  // (STEP_TABLE_INVALID) names the line.
  static absl::StatusOr<StepTable> Parse(std::string_view text);

  // `milli_units` >= 1; a degree without points answers as the next smaller one that has some.
  int64_t Nanos(int64_t milli_units, int degree = 1) const;
  // The least over the degrees up to `degree_max`.
  int64_t FastestNanos(int64_t milli_units, int degree_max) const;
  std::vector<int> degrees() const;
  // Points that describe the table to a scheduler, to 24 units: every 250 milli-units, or every 50
  // where several degrees have points.
  std::vector<std::pair<int64_t, int64_t>> Points(int degree = 1) const;

 private:
  // Milli-units and nanoseconds, ascending in both.
  std::map<int, std::vector<std::pair<int64_t, int64_t>>> points_;
};

}  // namespace darkroom::simulator
