#pragma once

#include <memory>

#include "gateway/call_gate.h"
#include "gateway/key_api.h"
#include "grpcpp/impl/service_type.h"

namespace darkroom {

// TenantAdminService over gRPC. `api` and `gate` must outlive it.
std::unique_ptr<grpc::Service> MakeKeyService(KeyApi& api, CallGate& gate);

}  // namespace darkroom
