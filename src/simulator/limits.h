#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom::simulator {

// Accelerators of one simulated cluster.
inline constexpr int kGpusMax = 16'384;
// Jobs of one workload.
inline constexpr size_t kJobsMax = 2'000'000;
// Lines of a trace or of a step table, and characters of one of them.
inline constexpr size_t kTraceLinesMax = 1'000'000;
inline constexpr size_t kStepTableLinesMax = 10'000;
inline constexpr size_t kLineBytesMax = 4096;
// Denoising steps of a job and pictures of a request that a trace may name.
inline constexpr int64_t kTraceStepsMax = 1000;
inline constexpr int64_t kTraceImagesMax = 1000;
// Runs of one sweep that share a point; each has its own seed.
inline constexpr int kSeedsMax = 1000;
// Pieces of one step.
inline constexpr int32_t kSegmentsMax = 4096;
// Accelerators that one job may use together.
inline constexpr int kDegreeMax = 64;

}  // namespace darkroom::simulator
