#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// The tenant that `request` asks for, its defaults filled in and nothing in it that is the server's
// to say. INVALID_ARGUMENT names every field that is wrong.
absl::StatusOr<v1::Tenant> NewTenantOf(const v1::CreateTenantRequest& request);

// The paths that `request` changes, "*" and what is left unsaid resolved. INVALID_ARGUMENT
// (UPDATE_MASK_INVALID).
absl::StatusOr<google::protobuf::FieldMask> MaskOf(const v1::UpdateTenantRequest& request);

// Makes the change that `request` asks for. ABORTED (ETAG_MISMATCH); INVALID_ARGUMENT as above.
absl::Status ApplyUpdate(const v1::UpdateTenantRequest& request,
                         const google::protobuf::FieldMask& mask, v1::Tenant& tenant);

// SHA-256, hex, of the request as the client sent it, without its request_id.
std::string RequestHash(const v1::CreateTenantRequest& request);

}  // namespace darkroom
