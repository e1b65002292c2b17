#pragma once

#include <array>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "scheduler/fair_share.h"
#include "scheduler/job.h"

namespace darkroom::scheduler {

// Whether a deadline can still be met, and whether the tenant is protected. The order of lanes is
// the policy's (PolicyConfig::priority).
enum class Lane : uint8_t {
  kFeasibleProtected,
  kFeasibleUnprotected,
  kLateProtected,
  kLateUnprotected
};
inline constexpr int kLanes = 4;

// Jobs of one model that wait for a slot, or for their next step, in the policy's order: within a
// lane by what is left of them. Per tenant one ordered set, and per lane one of the tenants' first
// jobs, so that a change of a tenant's protection moves one entry however many jobs it has.
class WaitQueue {
 public:
  // Adds the job under job.wait_key, among the late if job.waits_late.
  void Add(const Job& job, bool is_protected);
  void Remove(const Job& job, bool is_protected);
  // The tenant's protection is now `is_protected`, and was not before.
  void SetProtected(TenantId tenant, bool is_protected);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  size_t tenant_size(TenantId tenant) const;

  // Calls `visit` with the jobs of a lane in order, until it returns false.
  void Visit(Lane lane, absl::FunctionRef<bool(JobId)> visit) const;
  // The same with one tenant's jobs.
  void VisitTenant(TenantId tenant, bool late, absl::FunctionRef<bool(JobId)> visit) const;
  // The late job of a protected tenant that arrived first; 0: there is none.
  std::pair<uint64_t, JobId> OldestLateProtected() const;
  // Every tenant is in the lanes of its protection, and no other is in any. For tests.
  bool AgreesWith(absl::FunctionRef<bool(TenantId)> is_protected) const;

 private:
  using Keyed = absl::btree_set<std::pair<int64_t, JobId>>;
  struct TenantJobs {
    Keyed feasible;
    Keyed late;
    absl::btree_set<std::pair<uint64_t, JobId>> late_by_arrival;
  };
  using Heads = absl::btree_set<std::tuple<int64_t, JobId, TenantId>>;
  using Oldest = absl::btree_set<std::tuple<uint64_t, JobId, TenantId>>;

  // Takes the tenant's heads out of, or puts them into, the lanes.
  void Unlink(TenantId tenant, const TenantJobs& jobs, bool is_protected);
  void Link(TenantId tenant, const TenantJobs& jobs, bool is_protected);

  absl::flat_hash_map<TenantId, TenantJobs> tenants_;
  std::array<Heads, kLanes> heads_;
  Oldest oldest_late_;  // of protected tenants
  size_t size_ = 0;
};

}  // namespace darkroom::scheduler
