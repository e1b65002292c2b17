#include "scheduler/fair_share.h"

#include <algorithm>
#include <limits>

namespace darkroom::scheduler {

void FairShare::SetWeight(TenantId tenant, double weight) { accounts_[tenant].weight = weight; }

void FairShare::AddJob(TenantId tenant) {
  Account& account = accounts_[tenant];
  if (account.jobs++ > 0) return;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [other, other_account] : accounts_) {
    if (other != tenant && other_account.jobs > 0) {
      least = std::min(least, other_account.virtual_time);
    }
  }
  if (least == std::numeric_limits<double>::infinity()) least = floor_;
  account.virtual_time = std::max(account.virtual_time, least);
}

void FairShare::RemoveJob(TenantId tenant) {
  Account& account = accounts_[tenant];
  if (--account.jobs == 0) floor_ = std::max(floor_, account.virtual_time);
}

void FairShare::Charge(TenantId tenant, int64_t nanos) {
  Account& account = accounts_[tenant];
  account.virtual_time += static_cast<double>(nanos) / account.weight;
}

double FairShare::VirtualTime(TenantId tenant) const {
  const auto it = accounts_.find(tenant);
  return it == accounts_.end() ? 0.0 : it->second.virtual_time;
}

double FairShare::Cost(TenantId tenant, int64_t nanos) const {
  const auto it = accounts_.find(tenant);
  return static_cast<double>(nanos) / (it == accounts_.end() ? 1.0 : it->second.weight);
}

}  // namespace darkroom::scheduler
