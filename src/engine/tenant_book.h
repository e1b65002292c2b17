#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "scheduler/token_bucket.h"
#include "scheduler/types.h"

namespace darkroom::engine {

// What a tenant may do and how it is treated.
struct TenantPolicy {
  std::string name;
  double weight = 1;
  scheduler::ServiceClass service_class = scheduler::ServiceClass::kBestEffort;
  scheduler::Isolation isolation = scheduler::Isolation::kShared;
  int dedicated_workers = 0;          // per model, with isolation kDedicated
  int generations_max = 1000;         // that wait or run
  int64_t running_max = 0;            // pictures being made at once; 0: no bound
  double generations_per_second = 0;  // in the long run; 0: no bound
  double generations_burst = 1;       // at once above that
  // Accelerator time that its generations may take in all; none: no bound.
  std::optional<double> budget_seconds;
};

// The tenants of one daemon: their policies, the numbers that the scheduler and the workers know
// them by, and the generations that each has. Part of the controller, and as pure.
class TenantBook {
 public:
  // `policies` get the numbers 1, 2, ... in their order. `otherwise`: how a tenant is treated that
  // `policies` does not name, as one whose generations a restart has found although the
  // configuration no longer has it.
  TenantBook(const std::vector<TenantPolicy>& policies, TenantPolicy otherwise);

  // The same number for the same name as long as the daemon runs.
  scheduler::TenantId IdOf(const std::string& name);
  // REQUIRES: IdOf was asked for it.
  const TenantPolicy& PolicyOf(scheduler::TenantId id) const { return tenants_[id - 1].policy; }

  // From now on the tenant is treated so, also when it was removed before.
  scheduler::TenantId Set(TenantPolicy policy);
  // From now on nothing more is taken from it.
  void Remove(const std::string& name) { At(name).removed = true; }
  bool removed(const std::string& name) { return At(name).removed; }

  // Tenants that are known; their numbers are 1 to this.
  size_t size() const { return tenants_.size(); }

  // Whether the tenant may have one more generation now. RESOURCE_EXHAUSTED with a retry time:
  // QUEUE_FULL, TENANT_RATE. NOT_FOUND (TENANT_NOT_FOUND) for one that was removed. What is refused
  // changes nothing; what is not counts until Leave.
  absl::Status Enter(const std::string& name, int64_t now_ns);
  // As Enter would, without counting.
  absl::Status MayEnter(const std::string& name, int64_t now_ns);
  // One that was accepted before, whatever the limits are now.
  void EnterAgain(const std::string& name) { ++At(name).live; }
  void Leave(const std::string& name) { --At(name).live; }
  int live(const std::string& name) { return At(name).live; }

 private:
  struct Tenant {
    TenantPolicy policy;
    int live = 0;  // creates under way included
    bool removed = false;
    std::optional<scheduler::TokenBucket> bucket;
  };
  Tenant& At(const std::string& name) { return tenants_[IdOf(name) - 1]; }

  const TenantPolicy otherwise_;
  std::map<std::string, scheduler::TenantId> ids_;
  std::vector<Tenant> tenants_;
};

}  // namespace darkroom::engine
