#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "simulator/workload.h"

namespace darkroom::simulator {

// W4: one kind of tenant that is hard on the others. Pictures of 30 steps, Poisson, of the
// resolutions of W1. Those of the hard kind are marked WorkJob::flood, so that attainments by
// tenant and of victims are everybody else's.
struct TenantsWorkloadOptions {
  enum class Mix : uint8_t {
    // Half of the load is of twenty steady tenants. The other half is of four that send nothing for
    // a minute and then for twenty seconds four times as much, each at times of its own.
    kOnOff,
    // Thirty tenants have two adapters each, all of two base models, and one more, which sends a
    // third of all, wants another adapter each time. Accelerators have room for three models.
    kThrash,
    // Five thousand tenants send a picture now and then, together 60% of the load. Four send the
    // rest. The tiny ones are the victims.
    kTiny,
  };
  Mix mix = Mix::kOnOff;
  int gpus = 8;
  double load = 0.8;  // work over capacity
  double deadline_slack = 3.0;
  int pictures = 4000;
  StepTable table = StepTable::MeasuredH200();
};

// The same seed gives the same workload. INVALID_ARGUMENT (WORKLOAD_INVALID) for an option out of
// range.
absl::StatusOr<Workload> MakeTenantsWorkload(const TenantsWorkloadOptions& options, uint64_t seed);

}  // namespace darkroom::simulator
