#include "scheduler/fair_share.h"

#include <algorithm>

#include "scheduler/mutation.h"

namespace darkroom::scheduler {

void FairShare::SetWeight(TenantId tenant, double weight) { accounts_[tenant].weight = weight; }

void FairShare::AddJob(TenantId tenant) {
  const double least = LeastVirtualTime();
  Account& account = accounts_[tenant];
  if (account.jobs++ > 0) return;
  if (!Broken(Rule::kNoBankedCredit)) account.virtual_time = std::max(account.virtual_time, least);
  Insert(tenant, account);
  Settle();
}

void FairShare::RemoveJob(TenantId tenant) {
  Account& account = accounts_[tenant];
  if (--account.jobs > 0) return;
  floor_ = std::max(floor_, account.virtual_time);
  Erase(tenant, account);
  Settle();
}

void FairShare::Charge(TenantId tenant, int64_t nanos) {
  Account& account = accounts_[tenant];
  if (account.jobs > 0) Erase(tenant, account);
  account.virtual_time += static_cast<double>(nanos) / account.weight;
  if (account.jobs == 0) return;
  Insert(tenant, account);
  Settle();
}

double FairShare::VirtualTime(TenantId tenant) const {
  const auto it = accounts_.find(tenant);
  return it == accounts_.end() ? 0.0 : it->second.virtual_time;
}

double FairShare::LeastVirtualTime() const {
  if (protected_.empty()) return unprotected_.empty() ? floor_ : unprotected_.begin()->first;
  if (unprotected_.empty()) return protected_.begin()->first;
  return std::min(protected_.begin()->first, unprotected_.begin()->first);
}

bool FairShare::Protected(TenantId tenant) const {
  if (Broken(Rule::kLagGate)) return true;
  const auto it = accounts_.find(tenant);
  return it == accounts_.end() || it->second.is_protected;
}

bool FairShare::WouldBeProtected(TenantId tenant) const {
  const auto it = accounts_.find(tenant);
  if (it == accounts_.end() || it->second.jobs > 0) return Protected(tenant);
  return it->second.virtual_time <= LeastVirtualTime() + burst_credit_;
}

void FairShare::TakeChanges(std::vector<TenantId>& changed) {
  changed.clear();
  changed.swap(changed_);
}

void FairShare::Insert(TenantId tenant, Account& account) {
  // It goes back to the side that it was on; Settle finds out whether it still belongs there.
  (account.is_protected ? protected_ : unprotected_).insert({account.virtual_time, tenant});
}

void FairShare::Erase(TenantId tenant, const Account& account) {
  (account.is_protected ? protected_ : unprotected_).erase({account.virtual_time, tenant});
}

void FairShare::Settle() {
  if (protected_.empty() && unprotected_.empty()) return;
  const double gate = LeastVirtualTime() + burst_credit_;
  while (!unprotected_.empty() && unprotected_.begin()->first <= gate) {
    const auto entry = *unprotected_.begin();
    unprotected_.erase(unprotected_.begin());
    protected_.insert(entry);
    accounts_[entry.second].is_protected = true;
    changed_.push_back(entry.second);
  }
  while (!protected_.empty() && std::prev(protected_.end())->first > gate) {
    const auto entry = *std::prev(protected_.end());
    protected_.erase(std::prev(protected_.end()));
    unprotected_.insert(entry);
    accounts_[entry.second].is_protected = false;
    changed_.push_back(entry.second);
  }
}

}  // namespace darkroom::scheduler
