#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

// W5: pictures of 1024x1024 that are edited under a mask, where what is outside it is not computed
// anew (InstGenIE, arXiv 2505.20600; published as FlashPS, EuroSys '26), beside whole ones.
// Poisson.
//
// A step's work by the share m of the picture that is edited is that of FLUX.1's matrix products
// with 4096 m + 512 rows of queries and all 4608 of keys: .12 + .88 * (512 + 4096 m) / 4608 of a
// whole picture's. Steps take what eager FLUX takes on one H100 (StepTable::FluxH100).
struct EditsWorkloadOptions {
  int gpus = 8;
  double load = 0.9;  // work over capacity
  double deadline_slack = 3.0;
  int pictures = 4000;
  // 70% of the public trace's requests are edits (the paper).
  double edit_share = 0.7;
  // Masks are small and differ much: m is drawn from a Beta(1, 1 / mean - 1) distribution, which
  // has most of its mass near 0 and a long tail. The traces themselves are not public.
  double mask_mean = 0.19;
};

// Job shapes in reports: at most so many percent of the picture are edited.
inline constexpr int32_t kEditShapes[] = {10, 25, 50, 100};

// Of one step, over that of a whole picture.
double EditWork(double mask_share);

// The same seed gives the same workload. INVALID_ARGUMENT (WORKLOAD_INVALID) for an option out of
// range.
absl::StatusOr<Workload> MakeEditsWorkload(const EditsWorkloadOptions& options, uint64_t seed);

}  // namespace darkroom::simulator
