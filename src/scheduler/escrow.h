#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// Budgets of tenants, in memory: what a job may cost at most is reserved when it is taken, its
// charges are paid out of that, and what is left is given back when it ends, whichever way. In
// whole nanoseconds of accelerator time; sums are exact.
//
// G8: a job's charge <= its reservation, and a tenant's charges + reservations <= its budget, at
// every moment. What a job costs beyond its reservation is the house's. A budget that is lowered
// below what is charged and reserved refuses new jobs and takes nothing back from old ones.
class Escrow {
 public:
  struct Account {
    std::optional<int64_t> budget_ns;  // none: without bound
    int64_t charged_ns = 0;            // of jobs that ended, and of those that run
    int64_t reserved_ns = 0;           // of jobs that are there, not charged yet
  };

  // INVALID_ARGUMENT (TENANT_BUDGET_INVALID) for what is no number or below 0; a budget of 0 lets
  // nothing run. Above kBudgetNanosMax it is without bound.
  absl::Status SetBudget(TenantId tenant, double budget_ns);

  // RESOURCE_EXHAUSTED (BUDGET_EXHAUSTED) says what is left, and how many of `steps` steps fit into
  // it when each takes `step_ns` of the reservation; INVALID_ARGUMENT (JOB_COST_INVALID) where
  // the cost is not positive. A job that has a reservation keeps it.
  absl::Status Reserve(JobId job, TenantId tenant, int64_t worst_ns, int32_t steps = 0,
                       int64_t step_ns = 0);

  // A quantum of the job came to so much. Returns what its tenant pays; the rest, and all for a job
  // without a reservation or below 0, is the house's.
  int64_t Charge(JobId job, int64_t nanos);
  // Work that was done and must be done again, because a replica was lost: the house pays it.
  void ChargeHouse(int64_t nanos);

  // The job ended, was cancelled or refused, or failed: what is left of its reservation is free.
  // `refund`: it failed by our fault, and the house takes over what its tenant was charged.
  void Release(JobId job, bool refund);

  // What is left to reserve; without a bound what kBudgetNanosMax leaves.
  int64_t Left(TenantId tenant) const;
  Account AccountOf(TenantId tenant) const;
  int64_t house_ns() const { return house_ns_; }
  // Of the jobs that are there.
  size_t reservations() const { return reservations_.size(); }

  // What does not hold of G8 and the sums, in words. For tests.
  std::vector<std::string> BrokenInvariants() const;

 private:
  struct Reservation {
    TenantId tenant = 0;
    int64_t worst_ns = 0;
    int64_t charged_ns = 0;
  };

  absl::flat_hash_map<TenantId, Account> accounts_;
  absl::flat_hash_map<JobId, Reservation> reservations_;
  int64_t house_ns_ = 0;
};

// What a job of so much predicted work may cost at most: its error, and what a batch's rounding may
// add to each of its quanta.
int64_t WorstCost(int64_t predicted_ns, double epsilon, int64_t quanta);

}  // namespace darkroom::scheduler
