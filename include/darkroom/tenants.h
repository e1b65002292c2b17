#pragma once

#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// What the gateway asks about tenants, those of the configuration included. Who may ask is the
// gateway's to say. Thread-safe; no call blocks; a `done` runs exactly once and must not block.
class Tenants {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(T) &&>;
  // Changes the tenant as it is at that moment, etag included; its error becomes the answer. Runs
  // on the store thread.
  using Edit = absl::AnyInvocable<absl::Status(v1::Tenant&)>;

  struct NewTenant {
    v1::Tenant tenant;  // checked, its defaults resolved
    // Empty for none, and the SHA-256 of the request as it was sent, hex.
    std::string request_id;
    std::string request_hash;
    bool validate_only = false;
  };
  struct Deletion {
    std::string name;
    std::string etag;  // empty: whatever it is
    bool force = false;
    bool validate_only = false;
  };

  virtual ~Tenants() = default;

  // Done when it is durable and every part of the server knows it. ALREADY_EXISTS (TENANT_EXISTS,
  // REQUEST_ID_REUSED); RESOURCE_EXHAUSTED (TENANTS_TOO_MANY).
  virtual void CreateTenant(NewTenant create, Done<absl::StatusOr<v1::Tenant>> done) = 0;
  // Likewise. NOT_FOUND (TENANT_NOT_FOUND); FAILED_PRECONDITION (TENANT_CONFIGURED,
  // TENANT_DELETING).
  virtual void UpdateTenant(const std::string& name, Edit edit, bool validate_only,
                            Done<absl::StatusOr<v1::Tenant>> done) = 0;
  // Its keys open nothing once this was made durable; done when nothing of it is left. What a crash
  // breaks off goes on at the next start. NOT_FOUND (TENANT_NOT_FOUND); ABORTED (ETAG_MISMATCH);
  // FAILED_PRECONDITION (TENANT_CONFIGURED, TENANT_DELETING, and without `force` TENANT_BUSY).
  virtual void DeleteTenant(Deletion deletion, Done<absl::Status> done) = 0;

  // From memory, on the caller's thread. NOT_FOUND (TENANT_NOT_FOUND).
  virtual absl::StatusOr<v1::Tenant> GetTenant(const std::string& name) const = 0;
  // By name, from the first after `after`; at most `max`.
  virtual std::vector<v1::Tenant> ListTenants(const std::string& after, int max) const = 0;
};

}  // namespace darkroom
