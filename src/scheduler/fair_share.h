#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// Weighted virtual time per tenant: accelerator nanoseconds used, divided by the tenant's weight.
//
// A tenant with jobs is protected while its virtual time is at most the least one's plus the burst
// credit. Protection is kept up to date by order, so that a charge costs the logarithm of the
// number of tenants, and those whose protection changed are told.
class FairShare {
 public:
  explicit FairShare(int64_t burst_credit_ns = 0)
      : burst_credit_(static_cast<double>(burst_credit_ns)) {}

  // `weight` is positive and finite.
  void SetWeight(TenantId tenant, double weight);
  // A tenant's job arrived or ended. A tenant that had none begins at the least virtual time of the
  // active ones: time spent away earns no credit.
  void AddJob(TenantId tenant);
  void RemoveJob(TenantId tenant);
  // `nanos` may be negative: the correction of a prediction.
  void Charge(TenantId tenant, int64_t nanos);

  double VirtualTime(TenantId tenant) const;
  // Of the active tenants; of the last one that was, when none is.
  double LeastVirtualTime() const;
  bool Protected(TenantId tenant) const;
  // Of a tenant without jobs, whether one that came now would be protected.
  bool WouldBeProtected(TenantId tenant) const;
  // Tenants whose protection changed since the last call, each once or more; `changed` is replaced.
  void TakeChanges(std::vector<TenantId>& changed);

 private:
  struct Account {
    double weight = 1.0;
    double virtual_time = 0.0;
    int64_t jobs = 0;
    bool is_protected = false;
  };
  using Order = absl::btree_set<std::pair<double, TenantId>>;

  void Insert(TenantId tenant, Account& account);
  void Erase(TenantId tenant, const Account& account);
  // Moves tenants over the gate after the least virtual time or one of theirs changed.
  void Settle();

  double burst_credit_;
  absl::flat_hash_map<TenantId, Account> accounts_;
  // Active tenants by virtual time, on either side of the gate.
  Order protected_;
  Order unprotected_;
  // Virtual time that the last active tenant had when it left: where the next one begins.
  double floor_ = 0.0;
  std::vector<TenantId> changed_;
};

}  // namespace darkroom::scheduler
