#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

// W2: the mix of TetriServe's evaluation (Lu et al., ASPLOS '26, section 6.1; doi
// 10.1145/3779212.3790233): pictures of FLUX.1-dev that arrive as a Poisson process, each due 1.5,
// 2, 3 or 5 s after it came (256, 512, 1024 or 2048 pixels a side), times `slo_scale`.
struct FluxWorkloadOptions {
  int gpus = 8;
  double requests_per_minute = 12;
  double slo_scale = 1.0;
  // Resolutions with weights of exp(latent tokens / most latent tokens), which prefers large ones;
  // otherwise all four alike.
  bool skewed = false;
  int requests = 1500;
  StepTable table = StepTable::FluxH100();
};

// The same seed gives the same workload. INVALID_ARGUMENT (WORKLOAD_INVALID) for an option out of
// range.
absl::StatusOr<Workload> MakeFluxWorkload(const FluxWorkloadOptions& options, uint64_t seed);

}  // namespace darkroom::simulator
