#include "gateway/tenant_api.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/tenant_key.h"
#include "gateway/field_errors.h"
#include "gateway/limits.h"
#include "gateway/paging.h"
#include "gateway/reply_errors.h"
#include "gateway/tenant_validation.h"

namespace darkroom {
namespace {

constexpr std::string_view kPrefix = "tenants/";

// Sees all tenants; everyone else its own.
bool SeesAll(const Call& call) {
  return call.caller.roles.Has(v1::ROLE_OPERATOR) || call.caller.roles.Has(v1::ROLE_AUDITOR);
}

// The full name of a tenant that the caller may see.
absl::StatusOr<std::string> VisibleName(const Call& call, std::string_view name,
                                        std::string_view field) {
  std::string id;
  if (name.substr(0, kPrefix.size()) == kPrefix) id = std::string(name.substr(kPrefix.size()));
  if (!IsValidId(id)) {
    FieldErrors errors;
    errors.Add(field, "RESOURCE_NAME_INVALID", "is not a tenant's name",
               "must be tenants/{tenant}, the id 1 to 63 characters of a-z, 0-9 and -");
    return errors.ToStatus();
  }
  if (id == kOwnTenant) id = call.caller.tenant;
  if (!SeesAll(call) && id != call.caller.tenant) return TenantNotFound();
  return absl::StrCat("tenants/", id);
}

}  // namespace

void TenantApi::CreateTenant(CallPtr, v1::CreateTenantRequest request, Reply<v1::Tenant> reply) {
  auto tenant = NewTenantOf(request);
  if (!tenant.ok()) return std::move(reply)(tenant.status());
  tenants_.CreateTenant({.tenant = *std::move(tenant),
                         .request_id = absl::AsciiStrToLower(request.request_id()),
                         .request_hash = RequestHash(request),
                         .validate_only = request.validate_only()},
                        std::move(reply));
}

void TenantApi::GetTenant(CallPtr call, v1::GetTenantRequest request, Reply<v1::Tenant> reply) {
  const auto name = VisibleName(*call, request.name(), "name");
  if (!name.ok()) return std::move(reply)(name.status());
  std::move(reply)(tenants_.GetTenant(*name));
}

void TenantApi::ListTenants(CallPtr call, v1::ListTenantsRequest request,
                            Reply<v1::ListTenantsResponse> reply) {
  FieldErrors errors;
  const int page_size = CheckedPageSize(request.page_size(), errors);
  // The token is the last name given, so that a tenant that comes or goes meanwhile shifts nothing.
  const std::string after = CheckedPageToken(request.page_token(), errors);
  if (!errors.empty()) return std::move(reply)(errors.ToStatus());
  v1::ListTenantsResponse response;
  if (!SeesAll(*call)) {
    auto own = tenants_.GetTenant(absl::StrCat("tenants/", call->caller.tenant));
    if (own.ok() && own->name() > after) *response.add_tenants() = *std::move(own);
    return std::move(reply)(std::move(response));
  }
  std::vector<v1::Tenant> tenants = tenants_.ListTenants(after, page_size + 1);
  for (int i = 0; i < std::min<int>(page_size, static_cast<int>(tenants.size())); ++i) {
    *response.add_tenants() = std::move(tenants[i]);
  }
  if (static_cast<int>(tenants.size()) > page_size) {
    response.set_next_page_token(response.tenants(page_size - 1).name());
  }
  std::move(reply)(std::move(response));
}

void TenantApi::UpdateTenant(CallPtr call, v1::UpdateTenantRequest request,
                             Reply<v1::Tenant> reply) {
  const auto name = VisibleName(*call, request.tenant().name(), "tenant.name");
  if (!name.ok()) return std::move(reply)(name.status());
  auto mask = MaskOf(request);
  if (!mask.ok()) return std::move(reply)(mask.status());
  const bool validate_only = request.validate_only();
  tenants_.UpdateTenant(
      *name,
      [request = std::move(request), mask = *std::move(mask)](v1::Tenant& tenant) {
        return ApplyUpdate(request, mask, tenant);
      },
      validate_only, std::move(reply));
}

void TenantApi::DeleteTenant(CallPtr call, v1::DeleteTenantRequest request,
                             Reply<google::protobuf::Empty> reply) {
  auto name = VisibleName(*call, request.name(), "name");
  if (!name.ok()) return std::move(reply)(name.status());
  tenants_.DeleteTenant({.name = *std::move(name),
                         .etag = request.etag(),
                         .force = request.force(),
                         .validate_only = request.validate_only()},
                        [reply = std::move(reply)](absl::Status status) mutable {
                          if (!status.ok()) return std::move(reply)(status);
                          std::move(reply)(google::protobuf::Empty());
                        });
}

}  // namespace darkroom
