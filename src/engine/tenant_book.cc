#include "engine/tenant_book.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/limits.h"

namespace darkroom::engine {
namespace {

absl::Status QueueFull(int limit) {
  return Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
               absl::StrCat("this tenant has ", limit,
                            " generations waiting or running, the most allowed; try again when one "
                            "has ended"))
      .Quota("queued_generations_per_tenant", absl::StrCat("at most ", limit))
      .RetryAfter(absl::Nanoseconds(kRetryQueueFullNs));
}

absl::Status TooFast(const TenantPolicy& policy, int64_t wait_ns) {
  const std::string rule = absl::StrCat("at most ", policy.generations_per_second,
                                        " per second, and ", policy.generations_burst, " at once");
  return Error(absl::StatusCode::kResourceExhausted, "TENANT_RATE",
               absl::StrCat("this tenant asks for generations faster than it may: ", rule))
      .Quota("generations_per_second", rule)
      .RetryAfter(absl::Nanoseconds(wait_ns));
}

}  // namespace

TenantBook::TenantBook(const std::vector<TenantPolicy>& policies, TenantPolicy otherwise)
    : otherwise_(std::move(otherwise)) {
  for (const TenantPolicy& policy : policies) At(policy.name).policy = policy;
}

scheduler::TenantId TenantBook::IdOf(const std::string& name) {
  const auto [it, inserted] =
      ids_.try_emplace(name, static_cast<scheduler::TenantId>(tenants_.size() + 1));
  if (inserted) {
    tenants_.push_back({otherwise_, 0, false, std::nullopt});
    tenants_.back().policy.name = name;
  }
  return it->second;
}

scheduler::TenantId TenantBook::Set(TenantPolicy policy) {
  const scheduler::TenantId id = IdOf(policy.name);
  Tenant& tenant = tenants_[id - 1];
  const bool same_rate = policy.generations_per_second == tenant.policy.generations_per_second &&
                         policy.generations_burst == tenant.policy.generations_burst;
  // What it has used of its rate stays used when only something else changes.
  if (!same_rate || tenant.removed) tenant.bucket.reset();
  tenant.policy = std::move(policy);
  tenant.removed = false;
  return id;
}

absl::Status TenantBook::MayEnter(const std::string& name, int64_t now_ns) {
  Tenant& tenant = At(name);
  if (tenant.removed) {
    return Error(absl::StatusCode::kNotFound, "TENANT_NOT_FOUND", "there is no such tenant");
  }
  if (tenant.live >= tenant.policy.generations_max) {
    return QueueFull(tenant.policy.generations_max);
  }
  if (tenant.policy.generations_per_second <= 0) return absl::OkStatus();
  if (!tenant.bucket) {
    tenant.bucket.emplace(tenant.policy.generations_per_second, tenant.policy.generations_burst,
                          now_ns);
  }
  const int64_t wait_ns = tenant.bucket->Wait(now_ns);
  return wait_ns > 0 ? TooFast(tenant.policy, wait_ns) : absl::OkStatus();
}

absl::Status TenantBook::Enter(const std::string& name, int64_t now_ns) {
  if (absl::Status status = MayEnter(name, now_ns); !status.ok()) return status;
  Tenant& tenant = At(name);
  if (tenant.bucket) tenant.bucket->Take(now_ns);
  ++tenant.live;
  return absl::OkStatus();
}

}  // namespace darkroom::engine
