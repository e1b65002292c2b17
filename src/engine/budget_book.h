#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "scheduler/escrow.h"
#include "scheduler/types.h"

namespace darkroom::engine {

// What tenants may spend, in accelerator time since the start, and have reserved and spent of it:
// Escrow for whole generations, and for people. Part of the controller, and as pure.
class BudgetBook {
 public:
  // None: without bound.
  void SetBudget(scheduler::TenantId tenant, std::optional<double> seconds);

  // A job's predicted cost, alone.
  struct Cost {
    scheduler::JobId job = 0;
    int64_t nanos = 0;     // all of it
    int32_t steps = 0;     // of those that denoise
    int64_t step_ns = 0;   // each
    int32_t segments = 1;  // of a step; each may be a quantum
  };
  // Reserves what the jobs of one generation may cost at most, or nothing. RESOURCE_EXHAUSTED
  // (BUDGET_EXHAUSTED) says what is left and how many steps would fit, which an AdmissionOffer says
  // too. `epsilon`: by how much predictions of whole jobs fall short.
  absl::Status Reserve(scheduler::TenantId tenant, absl::Span<const Cost> jobs, double epsilon);

  // A quantum of the job came to so much. `again`: it had been paid for before it was lost.
  void Charge(scheduler::JobId job, int64_t nanos, bool again);
  // The job is gone and no plan holds it. `refund`: it failed by our fault.
  void Release(scheduler::JobId job, bool refund) { escrow_.Release(job, refund); }

  const scheduler::Escrow& escrow() const { return escrow_; }

 private:
  scheduler::Escrow escrow_;
};

}  // namespace darkroom::engine
