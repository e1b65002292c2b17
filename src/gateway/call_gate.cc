#include "gateway/call_gate.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/role_name.h"
#include "gateway/limits.h"

namespace darkroom {
namespace {

absl::Status CallsTooMany(int calls_max) {
  return Error(absl::StatusCode::kResourceExhausted, "CALLS_TOO_MANY",
               absl::StrCat("the server has its limit of ", calls_max,
                            " calls open, streams included; try again shortly"))
      .Quota("open_calls", absl::StrCat("at most ", calls_max, " at once"))
      .RetryAfter(absl::Milliseconds(gateway_limits::kRetryBusyMs));
}

absl::Status RoleNotAllowed(const Method& method) {
  std::vector<std::string> roles;
  for (int role = v1::Role_MIN + 1; role <= v1::Role_MAX; ++role) {
    if (method.roles.Has(static_cast<v1::Role>(role))) {
      roles.push_back(RoleName(static_cast<v1::Role>(role)));
    }
  }
  return Error(absl::StatusCode::kPermissionDenied, "ROLE_NOT_ALLOWED",
               absl::StrCat(method.name, " is for credentials of the role ",
                            absl::StrJoin(roles, " or "), " only; these have another"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Call>> CallGate::Enter(const Method& method,
                                                      const Credentials& credentials) {
  auto permit = open_.TryTake(1);
  if (!permit) return CallsTooMany(calls_max_);
  auto principal = authenticator_.Authenticate(credentials);
  if (!principal.ok()) return principal.status();
  if (!method.roles.Intersects(principal->roles)) return RoleNotAllowed(method);
  auto call = std::make_shared<Call>();
  call->caller = *std::move(principal);
  call->open = *std::move(permit);
  return call;
}

}  // namespace darkroom
