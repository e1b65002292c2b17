#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "config/config.h"
#include "darkroom/principal.h"
#include "darkroom/store.h"
#include "tenancy/key_ring.h"
#include "tenancy/tenant_directory.h"

namespace darkroom {

// Who may call this daemon: the keys that its store has, and what else its configuration believes.
struct Access {
  std::unique_ptr<KeyRing> ring;
  // Null where the configuration asks for no authentication: everyone is believed.
  std::unique_ptr<Authenticator> authenticator;
};

// Reads keys, pepper and files; makes the first operator's key where one is needed. Before the
// store's thread starts. Errors are for the operator and name the file.
// `tenants` and `clock` must outlive it.
absl::StatusOr<Access> OpenAccess(const Config& config, const TenantDirectory& tenants,
                                  GenerationStore& store, const Clock& clock);

// "keys and tokens", for the line that tells where the daemon listens.
std::string DescribeAccess(const Config& config);

}  // namespace darkroom
