#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "darkroom/engine.h"
#include "darkroom/keys.h"
#include "darkroom/v1/tenant.pb.h"
#include "gateway/call.h"
#include "tenancy/tenant_directory.h"

namespace darkroom {

// What every method about keys means, as api.h does for the other services: checks the request and
// who may ask. A tenant's administrator sees and changes its tenant's keys alone; another tenant's
// and a missing one give the same bytes.
class KeyApi {
 public:
  template <typename T>
  using Reply = Callback<absl::StatusOr<T>>;
  using CallPtr = std::shared_ptr<Call>;

  // All must outlive all replies.
  KeyApi(Keys& keys, const TenantDirectory& tenants, Clock& clock)
      : keys_(keys), tenants_(tenants), clock_(clock) {}

  void CreateApiKey(CallPtr call, v1::CreateApiKeyRequest request,
                    Reply<v1::CreateApiKeyResponse> reply);
  void GetApiKey(CallPtr call, v1::GetApiKeyRequest request, Reply<v1::ApiKey> reply);
  void ListApiKeys(CallPtr call, v1::ListApiKeysRequest request,
                   Reply<v1::ListApiKeysResponse> reply);
  void RotateApiKey(CallPtr call, v1::RotateApiKeyRequest request,
                    Reply<v1::RotateApiKeyResponse> reply);
  void RevokeApiKey(CallPtr call, v1::RevokeApiKeyRequest request, Reply<v1::ApiKey> reply);

 private:
  // The key to make, its defaults resolved.
  absl::StatusOr<v1::ApiKey> CheckNewKey(const Call& call, const v1::ApiKey& key) const;
  absl::Status CheckTenant(const Call& call, const std::string& tenant) const;

  Keys& keys_;
  const TenantDirectory& tenants_;
  Clock& clock_;
};

}  // namespace darkroom
