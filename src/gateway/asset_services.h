#pragma once

#include <memory>

#include "gateway/asset_api.h"
#include "gateway/call_gate.h"
#include "grpcpp/impl/service_type.h"

namespace darkroom {

// AssetService over gRPC. `api` and `gate` must outlive it.
std::unique_ptr<grpc::Service> MakeAssetService(AssetApi& api, CallGate& gate);

}  // namespace darkroom
