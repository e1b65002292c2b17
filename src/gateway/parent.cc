#include "gateway/parent.h"

#include "base/resource_name.h"
#include "gateway/field_errors.h"
#include "gateway/reply_errors.h"

namespace darkroom {

absl::Status CheckParent(const Call& call, std::string_view parent, std::string_view field) {
  constexpr std::string_view kPrefix = "tenants/";
  if (parent.empty() || parent == "tenants/-") return absl::OkStatus();
  if (parent.substr(0, kPrefix.size()) != kPrefix || !IsValidId(parent.substr(kPrefix.size()))) {
    FieldErrors errors;
    errors.Add(field, "RESOURCE_NAME_INVALID", "is not a tenant's name",
               "must be empty or tenants/{tenant}, the id 1 to 63 characters of a-z, 0-9 and -");
    return errors.ToStatus();
  }
  if (parent.substr(kPrefix.size()) != call.caller.tenant) return TenantNotFound();
  return absl::OkStatus();
}

}  // namespace darkroom
