#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "darkroom/principal.h"
#include "tenancy/key_ring.h"
#include "tenancy/poller.h"
#include "tenancy/tenant_directory.h"
#include "tenancy/token_file.h"

namespace darkroom {

// Believes every caller: a server on loopback without keys. Whoever names no tenant is "local";
// everyone has every role.
class LoopbackAuthenticator final : public Authenticator {
 public:
  // `tenants` must outlive this.
  explicit LoopbackAuthenticator(const TenantDirectory& tenants) : tenants_(tenants) {}
  absl::StatusOr<Principal> Authenticate(const Credentials& credentials) const override;

 private:
  const TenantDirectory& tenants_;
};

// Believes keys, tokens and certificates, in this order: the first that a call brings decides.
class CredentialAuthenticator final : public Authenticator {
 public:
  // A certificate's URI name, and what its bearer is.
  struct Certificate {
    std::string uri;
    std::string tenant;  // empty where the role acts for none
    v1::Role role = v1::ROLE_UNSPECIFIED;
  };
  struct Options {
    const TenantDirectory* tenants = nullptr;  // never null; must outlive this
    const KeyRing* keys = nullptr;             // null: no keys. Must outlive this.
    std::unique_ptr<TokenFile> tokens;         // null: no tokens
    std::vector<Certificate> certificates;
  };
  // `clock` must outlive this.
  CredentialAuthenticator(Options options, const Clock& clock);
  absl::StatusOr<Principal> Authenticate(const Credentials& credentials) const override;

 private:
  absl::StatusOr<Principal> ByBearer(const std::string& authorization) const;
  absl::StatusOr<Principal> ByCertificate(const std::vector<std::string>& uris) const;

  const Options options_;
  const Clock& clock_;
  absl::flat_hash_map<std::string, Principal> certificates_;
  // When a refused token was last told to the log, which callers could fill otherwise.
  mutable std::atomic<int64_t> told_ns_{INT64_MIN};
  // Looks for a new file of token keys. Last, so that it ends first.
  std::unique_ptr<Poller> poller_;
};

}  // namespace darkroom
