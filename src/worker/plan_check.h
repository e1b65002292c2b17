#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/v1/worker.pb.h"
#include "worker/commands.h"

namespace darkroom {

// The worker's own validation: the daemon is another process, and a plan that it got wrong must
// cost the entries concerned and never the worker.

// What holds for a slot whatever the model: bounds, finite numbers. Reasons as the gateway's.
absl::Status CheckOpenSlot(const v1::OpenSlot& request);

// Evaluations of the transformer that the job takes. REQUIRES: CheckOpenSlot is OK.
int SlotEvaluations(const v1::OpenSlot& request);

// What concerns the plan as a whole: stage, segments.
absl::Status CheckPlan(const v1::BatchPlan& plan);

// Follows the sequence numbers of plans: they rise within a gang epoch, and epochs never fall.
class PlanOrder {
 public:
  absl::Status Check(const v1::BatchPlan& plan);

 private:
  uint64_t gang_epoch_ = 0;
  uint64_t sequence_ = 0;
  bool any_ = false;
};

// The blocks of a step that the plan runs, of a model that has so many, [first, last).
struct PlanBlocks {
  int32_t first = 0;
  int32_t last = 0;
};
PlanBlocks BlocksOf(const v1::BatchPlan& plan, int32_t blocks);

// Whether entry `index` may run now: the slot is open and not twice in the plan, order of stages,
// steps and blocks, numbers, isolation. `blocks`: of a step of the model. REQUIRES: it has a lease,
// and CheckPlan found nothing.
absl::Status CheckEntry(const v1::BatchPlan& plan, absl::Span<const PlanEntry> entries, int index,
                        int32_t blocks);

}  // namespace darkroom
