#pragma once

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// Weighted virtual time per tenant: accelerator nanoseconds used, divided by the tenant's weight.
// Who has the least is served first.
class FairShare {
 public:
  void SetWeight(TenantId tenant, double weight);
  // A tenant's job arrived or ended. A tenant that had none begins at the least virtual time of the
  // active ones: time spent away earns no credit.
  void AddJob(TenantId tenant);
  void RemoveJob(TenantId tenant);
  // `nanos` may be negative: the correction of a prediction.
  void Charge(TenantId tenant, int64_t nanos);

  double VirtualTime(TenantId tenant) const;
  // Virtual time that `nanos` more would cost this tenant.
  double Cost(TenantId tenant, int64_t nanos) const;

 private:
  struct Account {
    double weight = 1.0;
    double virtual_time = 0.0;
    int64_t jobs = 0;
  };
  absl::flat_hash_map<TenantId, Account> accounts_;
  // Virtual time that the last active tenant had when it left: where the next one begins.
  double floor_ = 0.0;
};

}  // namespace darkroom::scheduler
