#include "gateway/key_api.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/role_name.h"
#include "base/wall_time.h"
#include "gateway/field_errors.h"
#include "gateway/limits.h"
#include "gateway/paging.h"
#include "gateway/parent.h"
#include "gateway/reply_errors.h"
#include "gateway/text.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

constexpr char kTenants[] = "tenants/";

// Sees all keys; everyone else its tenant's.
bool SeesAll(const Call& call) {
  return call.caller.roles.Has(v1::ROLE_OPERATOR) || call.caller.roles.Has(v1::ROLE_AUDITOR);
}

absl::Status MayTouch(const Principal& caller, bool sees_all, const v1::ApiKey& key) {
  if (sees_all || key.tenant() == absl::StrCat(kTenants, caller.tenant)) return absl::OkStatus();
  return KeyNotFound();
}

bool IsKeyName(const std::string& name) {
  constexpr std::string_view kPrefix = "keys/";
  constexpr size_t kIdBytes = 16;
  return name.size() == kPrefix.size() + kIdBytes &&
         name.compare(0, kPrefix.size(), kPrefix) == 0 &&
         std::all_of(name.begin() + kPrefix.size(), name.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

absl::Status CheckName(const std::string& name) {
  if (IsKeyName(name)) return absl::OkStatus();
  FieldErrors errors;
  errors.Add("name", "RESOURCE_NAME_INVALID", "is not a key's name",
             "must be keys/{key}, the id 16 characters of 0-9 and a-f");
  return errors.ToStatus();
}

void CheckTitle(const std::string& title, FieldErrors& errors) {
  if (title.size() > static_cast<size_t>(limits::kKeyTitleBytesMax)) {
    errors.Add("key.title", "TITLE_TOO_LONG", absl::StrCat("has ", title.size(), " bytes"),
               absl::StrCat("must have at most ", limits::kKeyTitleBytesMax));
  } else if (HasControlCharacter(title)) {
    errors.Add("key.title", "TITLE_INVALID", "has a control character", "must have none");
  }
}

// Output only: a client that sends them back from an answer changes nothing by it.
void ClearOutputs(v1::ApiKey& key) {
  v1::ApiKey inputs;
  inputs.set_tenant(key.tenant());
  inputs.set_role(key.role());
  inputs.set_title(key.title());
  if (key.has_expire_time()) *inputs.mutable_expire_time() = key.expire_time();
  key = std::move(inputs);
}

bool IsTimestamp(const google::protobuf::Timestamp& time) {
  constexpr int64_t kYear9999 = 253'402'300'799;
  return time.seconds() >= 0 && time.seconds() <= kYear9999 && time.nanos() >= 0 &&
         time.nanos() < 1'000'000'000;
}

}  // namespace

absl::Status KeyApi::CheckTenant(const Call& call, const std::string& tenant) const {
  FieldErrors errors;
  if (!SeesAll(call)) return CheckParent(call, tenant, "key.tenant");
  if (tenant.compare(0, sizeof(kTenants) - 1, kTenants) == 0 &&
      tenants_.Has(tenant.substr(sizeof(kTenants) - 1))) {
    return absl::OkStatus();
  }
  errors.Add(
      "key.tenant", "TENANT_UNKNOWN", "names no tenant of this server",
      "must be tenants/{tenant}, one of the server's configuration or made with CreateTenant");
  return errors.ToStatus();
}

absl::StatusOr<v1::ApiKey> KeyApi::CheckNewKey(const Call& call, const v1::ApiKey& given) const {
  v1::ApiKey key = given;
  ClearOutputs(key);
  FieldErrors errors;
  if (key.role() == v1::ROLE_UNSPECIFIED) key.set_role(v1::ROLE_TENANT_USER);
  if (!v1::Role_IsValid(key.role())) {
    errors.Add("key.role", "ROLE_UNKNOWN", absl::StrCat("is ", key.role()),
               "must be ROLE_TENANT_USER, ROLE_TENANT_ADMIN, ROLE_OPERATOR or ROLE_AUDITOR");
  } else if (!SeesAll(call) && !IsTenantRole(key.role())) {
    errors.Add("key.role", "ROLE_NOT_ALLOWED", absl::StrCat("is ", v1::Role_Name(key.role())),
               "must be ROLE_TENANT_USER or ROLE_TENANT_ADMIN in a key that a tenant makes");
  } else if (!IsTenantRole(key.role()) && !key.tenant().empty()) {
    errors.Add("key.tenant", "TENANT_NOT_ALLOWED", "is set",
               "must be empty for an operator's or an auditor's key, which act for none");
  }
  CheckTitle(key.title(), errors);
  if (key.has_expire_time() &&
      (!IsTimestamp(key.expire_time()) || FromTimestamp(key.expire_time()) <= clock_.WallTime())) {
    errors.Add("key.expire_time", "EXPIRE_TIME_PASSED", "is not in the future",
               "must be later than now, or unset for a key without an end");
  }
  if (!errors.empty()) return errors.ToStatus();
  if (!IsTenantRole(key.role())) return key;
  if (absl::Status status = CheckTenant(call, key.tenant()); !status.ok()) return status;
  if (key.tenant().empty()) key.set_tenant(absl::StrCat(kTenants, call.caller.tenant));
  return key;
}

void KeyApi::CreateApiKey(CallPtr call, v1::CreateApiKeyRequest request,
                          Reply<v1::CreateApiKeyResponse> reply) {
  auto key = CheckNewKey(*call, request.key());
  if (!key.ok()) return std::move(reply)(key.status());
  keys_.CreateKey(*std::move(key),
                  [reply = std::move(reply)](absl::StatusOr<Keys::NewText> made) mutable {
                    if (!made.ok()) return std::move(reply)(made.status());
                    v1::CreateApiKeyResponse response;
                    *response.mutable_key() = std::move(made->key);
                    response.set_text(std::move(made->text));
                    std::move(reply)(std::move(response));
                  });
}

void KeyApi::GetApiKey(CallPtr call, v1::GetApiKeyRequest request, Reply<v1::ApiKey> reply) {
  if (absl::Status status = CheckName(request.name()); !status.ok()) {
    return std::move(reply)(status);
  }
  auto key = keys_.GetKey(request.name());
  if (key.ok()) {
    if (absl::Status status = MayTouch(call->caller, SeesAll(*call), *key); !status.ok()) {
      key = status;
    }
  }
  std::move(reply)(std::move(key));
}

void KeyApi::ListApiKeys(CallPtr call, v1::ListApiKeysRequest request,
                         Reply<v1::ListApiKeysResponse> reply) {
  FieldErrors errors;
  const int page_size = CheckedPageSize(request.page_size(), errors);
  if (!request.page_token().empty() && !IsKeyName(request.page_token())) {
    errors.Add("page_token", "PAGE_TOKEN_INVALID", "is none that this server gave",
               "must be empty or next_page_token of the previous page");
  }
  if (!errors.empty()) return std::move(reply)(errors.ToStatus());
  std::string tenant = request.tenant();
  if (!SeesAll(*call)) {
    if (absl::Status status = CheckParent(*call, tenant, "tenant"); !status.ok()) {
      return std::move(reply)(status);
    }
    tenant = absl::StrCat(kTenants, call->caller.tenant);
  }
  auto keys = keys_.ListKeys(tenant, request.page_token(), page_size + 1);
  v1::ListApiKeysResponse response;
  for (int i = 0; i < std::min<int>(page_size, static_cast<int>(keys.size())); ++i) {
    *response.add_keys() = std::move(keys[i]);
  }
  if (static_cast<int>(keys.size()) > page_size) {
    response.set_next_page_token(response.keys(page_size - 1).name());
  }
  std::move(reply)(std::move(response));
}

void KeyApi::RotateApiKey(CallPtr call, v1::RotateApiKeyRequest request,
                          Reply<v1::RotateApiKeyResponse> reply) {
  if (absl::Status status = CheckName(request.name()); !status.ok()) {
    return std::move(reply)(status);
  }
  int64_t overlap = limits::kKeyOverlapSecondsDefault;
  if (request.has_overlap()) overlap = request.overlap().seconds();
  if (overlap < 0 || overlap > limits::kKeyOverlapSecondsMax || request.overlap().nanos() != 0) {
    FieldErrors errors;
    errors.Add(
        "overlap", "OVERLAP_OUT_OF_RANGE",
        absl::StrCat("is ", overlap, " s and ", request.overlap().nanos(), " ns"),
        absl::StrCat("must be 0 to ", limits::kKeyOverlapSecondsMax, " whole seconds; nearest: ",
                     std::clamp<int64_t>(overlap, 0, limits::kKeyOverlapSecondsMax)));
    return std::move(reply)(errors.ToStatus());
  }
  keys_.RotateKey(
      request.name(), absl::Seconds(overlap),
      [caller = call->caller, all = SeesAll(*call)](const v1::ApiKey& key) {
        return MayTouch(caller, all, key);
      },
      [reply = std::move(reply)](absl::StatusOr<Keys::NewText> made) mutable {
        if (!made.ok()) return std::move(reply)(made.status());
        v1::RotateApiKeyResponse response;
        *response.mutable_key() = std::move(made->key);
        response.set_text(std::move(made->text));
        std::move(reply)(std::move(response));
      });
}

void KeyApi::RevokeApiKey(CallPtr call, v1::RevokeApiKeyRequest request, Reply<v1::ApiKey> reply) {
  if (absl::Status status = CheckName(request.name()); !status.ok()) {
    return std::move(reply)(status);
  }
  keys_.RevokeKey(
      request.name(),
      [caller = call->caller, all = SeesAll(*call)](const v1::ApiKey& key) {
        return MayTouch(caller, all, key);
      },
      std::move(reply));
}

}  // namespace darkroom
