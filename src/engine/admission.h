#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "darkroom/v1/generation.pb.h"
#include "engine/messages.h"
#include "engine/tenant_book.h"
#include "scheduler/scheduler.h"
#include "scheduler/types.h"

namespace darkroom::engine {

// Between what a client asks for and is told, and what the scheduler takes and says. Pure.

// UNAVAILABLE, with a retry time: DRAINING, STORE_BROKEN.
absl::Status Draining();
absl::Status StoreBroken();

// FAILED_PRECONDITION (TENANT_DELETED): how the generations of a tenant end with it.
absl::Status TenantDeleted();

// The class that the request names, or the tenant's own.
scheduler::ServiceClass ClassOf(const v1::GenerateRequest& request, const TenantPolicy& policy);
// PERMISSION_DENIED (SERVICE_CLASS_NOT_ALLOWED) when it asks for more than the tenant may.
absl::Status CheckClass(const v1::GenerateRequest& request, const TenantPolicy& policy);

// The request's deadline on the monotonic clock; kNoDeadline when it has none.
int64_t DeadlineOf(const v1::GenerateRequest& request, Now now);

// What a client is told of a refusal. An offer is a google.rpc detail of type AdmissionOffer.
absl::Status RefusalStatus(const scheduler::JobRefused& refused, int64_t deadline_ns, Now now);

v1::Forecast ForecastToProto(const scheduler::Forecast& forecast, Now now);

}  // namespace darkroom::engine
