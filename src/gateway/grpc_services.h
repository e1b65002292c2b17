#pragma once

#include <memory>
#include <vector>

#include "gateway/api.h"
#include "gateway/call_gate.h"
#include "grpcpp/impl/service_type.h"

namespace darkroom {

// The gRPC services, each method handed to `api`. Both arguments must outlive the services, and the
// services the server they are registered with.

// For tenants: generations and models.
std::vector<std::unique_ptr<grpc::Service>> MakeGrpcServices(Api& api, CallGate& gate);
// For operators.
std::unique_ptr<grpc::Service> MakeServerAdminService(Api& api, CallGate& gate);

}  // namespace darkroom
