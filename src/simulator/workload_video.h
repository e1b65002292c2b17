#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

// Pixels along the short side that name a clip's class in reports; pictures are 512, 768 or 1024.
inline constexpr int32_t kVideoShape = 720;

// W3: pictures and 720p clips on the same accelerators, both Poisson. A clip's step takes about 5 s
// alone, that of a model of Wan's class (design figures: 5 to 8 s, one of its 40 blocks .206 s),
// and can be cut into `video_segments` pieces: the least that may run between two decisions.
struct VideoWorkloadOptions {
  int gpus = 8;
  // Work over capacity, of pictures and of clips.
  double picture_load = 0.3;
  double video_load = 0.4;
  int32_t video_segments = 160;
  double deadline_slack = 3.0;
  int pictures = 3000;
  StepTable table = StepTable::MeasuredH200();
};

// The same seed gives the same workload. INVALID_ARGUMENT (WORKLOAD_INVALID) for an option out of
// range.
absl::StatusOr<Workload> MakeVideoWorkload(const VideoWorkloadOptions& options, uint64_t seed);

}  // namespace darkroom::simulator
