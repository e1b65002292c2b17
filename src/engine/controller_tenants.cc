// The controller's part in which tenants come, change and go.

#include <utility>
#include <vector>

#include "engine/admission.h"
#include "engine/controller.h"

namespace darkroom::engine {

void Controller::TellPolicy(scheduler::TenantId id, Now now, Commands& commands) {
  const TenantPolicy& policy = tenants_.PolicyOf(id);
  Schedule(scheduler::TenantWeight{id, policy.weight}, now, commands);
  // How many wait and how fast they come is for generations, which tenants_ counts.
  Schedule(scheduler::TenantLimits{id, 0, policy.running_max, 0, 1}, now, commands);
  budgets_.SetBudget(id, policy.budget_seconds);
}

void Controller::On(TenantChanged event, Now now, Commands& commands) {
  TellPolicy(tenants_.Set(std::move(event.policy)), now, commands);
}

void Controller::On(TenantGone event, Now now, Commands& commands) {
  tenants_.Remove(event.tenant);
  leaving_.emplace(event.tenant, event.call);
  std::vector<std::string> own;
  for (const auto& [name, record] : generations_) {
    // One whose creation is on its way to the store ends when that is done.
    if (record.tenant == event.tenant && record.stored) own.push_back(name);
  }
  for (const std::string& name : own) {
    Fail(generations_.at(name), TenantDeleted(), now, commands);
  }
}

void Controller::ReportTenantsGone(Now now, Commands& commands) {
  for (auto it = leaving_.begin(); it != leaving_.end();) {
    const auto& [tenant, call] = *it;
    if (tenants_.live(tenant) > 0) {
      ++it;
      continue;
    }
    Schedule(scheduler::TenantRemoved{tenants_.IdOf(tenant)}, now, commands);
    commands.push_back(Reply{call, v1::Generation()});
    it = leaving_.erase(it);
  }
}

}  // namespace darkroom::engine
