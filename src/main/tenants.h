#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "config/config.h"
#include "darkroom/store.h"
#include "darkroom/v1/tenant.pb.h"
#include "engine/tenant_book.h"
#include "tenancy/tenant_directory.h"

namespace darkroom {

// A tenant of the configuration, as the API shows it.
v1::Tenant TenantOf(const Config::Tenant& tenant);

// How the engine treats a tenant; what it leaves open is `limits`'.
engine::TenantPolicy PolicyOf(const v1::Tenant& tenant, const Config::Limits& limits);

// Bytes of uploaded pictures that the tenant may have. NOT_FOUND (TENANT_NOT_FOUND).
absl::StatusOr<int64_t> AssetQuotaOf(const TenantDirectory& directory, const Config::Limits& limits,
                                     const std::string& tenant);

// "one tenant: local", for the line that tells where the daemon listens.
std::string DescribeTenants(const TenantDirectory& directory);

// Those that the store has and those of the configuration, which go first. Before the store's
// thread starts.
absl::Status FillDirectory(const Config& config, GenerationStore& store,
                           TenantDirectory& directory);

}  // namespace darkroom
