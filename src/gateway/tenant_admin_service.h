#pragma once

#include <memory>

#include "gateway/call_gate.h"
#include "gateway/key_api.h"
#include "gateway/tenant_api.h"
#include "grpcpp/impl/service_type.h"

namespace darkroom {

// TenantAdminService over gRPC. All must outlive it.
std::unique_ptr<grpc::Service> MakeTenantAdminService(TenantApi& tenants, KeyApi& keys,
                                                      CallGate& gate);

}  // namespace darkroom
