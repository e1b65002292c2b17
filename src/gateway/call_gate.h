#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/error.h"
#include "base/tenant_key.h"
#include "gateway/call.h"
#include "gateway/limits.h"

namespace darkroom {

// Where every call enters: decides whose it is and whether there is room for it. Thread-safe; must
// outlive its calls.
class CallGate {
 public:
  // `tenants`: those that there are; kLocalTenant is always one.
  explicit CallGate(int calls_max, absl::Span<const std::string> tenants = {})
      : calls_max_(calls_max), tenants_(tenants.begin(), tenants.end()), open_(calls_max) {
    tenants_.insert(kLocalTenant);
  }

  // `keys`: every value that the call has under kTenantKey. RESOURCE_EXHAUSTED (CALLS_TOO_MANY)
  // with a retry time; UNAUTHENTICATED (TENANT_UNKNOWN); INVALID_ARGUMENT (TENANT_KEY_REPEATED).
  absl::StatusOr<std::shared_ptr<Call>> Enter(absl::Span<const std::string> keys) {
    auto permit = open_.TryTake(1);
    if (!permit) {
      return absl::Status(Error(absl::StatusCode::kResourceExhausted, "CALLS_TOO_MANY",
                                absl::StrCat("the server has its limit of ", calls_max_,
                                             " calls open, streams included; try again shortly"))
                              .Quota("open_calls", absl::StrCat("at most ", calls_max_, " at once"))
                              .RetryAfter(absl::Milliseconds(gateway_limits::kRetryBusyMs)));
    }
    if (keys.size() > 1) {
      return absl::Status(Error(
          absl::StatusCode::kInvalidArgument, "TENANT_KEY_REPEATED",
          absl::StrCat("the metadata key ", kTenantKey, " has ", keys.size(),
                       " values; it must have one, or be left out for the tenant ", kLocalTenant)));
    }
    // Loopback without keys: a caller is believed, and one that says nothing is the local tenant.
    const std::string& tenant = keys.empty() ? kLocal : keys.front();
    if (!tenants_.contains(tenant)) {
      return absl::Status(
          Error(absl::StatusCode::kUnauthenticated, "TENANT_UNKNOWN",
                absl::StrCat("the metadata key ", kTenantKey,
                             " names no tenant of this server; it must be one that its "
                             "configuration names, or be left out for the tenant ",
                             kLocalTenant)));
    }
    auto call = std::make_shared<Call>();
    call->tenant = tenant;
    call->open = *std::move(permit);
    return call;
  }

  int64_t open_calls() const { return open_.taken(); }
  void AwaitNoneOpen() { open_.AwaitNoneTaken(); }

 private:
  inline static const std::string kLocal = kLocalTenant;

  const int calls_max_;
  absl::flat_hash_set<std::string> tenants_;
  Budget open_;
};

}  // namespace darkroom
