#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "darkroom/engine.h"
#include "darkroom/tenants.h"
#include "darkroom/v1/tenant.pb.h"
#include "gateway/call.h"
#include "google/protobuf/empty.pb.h"

namespace darkroom {

// What every method about tenants means, as api.h does for the other services. A tenant's
// administrator sees its own alone; another and a missing one give the same bytes.
class TenantApi {
 public:
  template <typename T>
  using Reply = Callback<absl::StatusOr<T>>;
  using CallPtr = std::shared_ptr<Call>;

  // `tenants` must outlive all replies.
  explicit TenantApi(Tenants& tenants) : tenants_(tenants) {}

  void CreateTenant(CallPtr call, v1::CreateTenantRequest request, Reply<v1::Tenant> reply);
  void GetTenant(CallPtr call, v1::GetTenantRequest request, Reply<v1::Tenant> reply);
  void ListTenants(CallPtr call, v1::ListTenantsRequest request,
                   Reply<v1::ListTenantsResponse> reply);
  void UpdateTenant(CallPtr call, v1::UpdateTenantRequest request, Reply<v1::Tenant> reply);
  void DeleteTenant(CallPtr call, v1::DeleteTenantRequest request,
                    Reply<google::protobuf::Empty> reply);

 private:
  Tenants& tenants_;
};

}  // namespace darkroom
