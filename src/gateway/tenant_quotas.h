#pragma once

#include <vector>

#include "absl/status/status.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/model.pb.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// What a tenant's limits say of one request, whatever else it has; what they say of all its
// requests together is the engine's to check.

// Those of `models` that there are for the tenant. Another model and a missing one are the same.
std::vector<v1::Model> ModelsFor(const v1::Tenant& tenant, std::vector<v1::Model> models);

// RESOURCE_EXHAUSTED (TENANT_PIXELS, TENANT_STEPS), without a retry time: waiting does not help. A
// size that is 0 is not known yet.
absl::Status CheckRequestQuotas(const v1::Tenant& tenant, const v1::GenerateRequest& resolved);

}  // namespace darkroom
