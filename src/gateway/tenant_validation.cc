#include "gateway/tenant_validation.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "base/tenant_key.h"
#include "gateway/field_errors.h"
#include "gateway/limits.h"
#include "gateway/text.h"
#include "gateway/validation.h"
#include "google/protobuf/util/field_mask_util.h"

namespace darkroom {
namespace {

using google::protobuf::FieldMask;
using google::protobuf::util::FieldMaskUtil;

// What a client may set, in the order of the message.
constexpr std::array<const char*, 6> kSettable = {"title",     "weight", "service_class",
                                                  "isolation", "models", "quotas"};

template <typename T>
void CheckRange(T value, T min, T max, std::string_view field, FieldErrors& errors) {
  // Written so that NaN fails.
  if (value >= min && value <= max) return;
  const T nearest = value > max ? max : min;
  errors.Add(field, "TENANT_VALUE_OUT_OF_RANGE", absl::StrCat("is ", value),
             absl::StrCat("must be ", min, " to ", max, "; nearest: ", nearest));
}

void CheckTitle(const std::string& title, FieldErrors& errors) {
  if (title.size() > static_cast<size_t>(kTenantTitleBytesMax)) {
    errors.Add("tenant.title", "TITLE_TOO_LONG", absl::StrCat("has ", title.size(), " bytes"),
               absl::StrCat("must have at most ", kTenantTitleBytesMax));
  } else if (HasControlCharacter(title)) {
    errors.Add("tenant.title", "TITLE_INVALID", "has a control character", "must have none");
  }
}

void CheckModels(const v1::Tenant& tenant, FieldErrors& errors) {
  constexpr std::string_view kPrefix = "models/";
  if (tenant.models_size() > kTenantModelsMax) {
    errors.Add("tenant.models", "MODELS_TOO_MANY",
               absl::StrCat("has ", tenant.models_size(), " entries"),
               absl::StrCat("must have at most ", kTenantModelsMax));
    return;
  }
  for (const std::string& model : tenant.models()) {
    const std::string_view name = model;
    if (name.substr(0, kPrefix.size()) == kPrefix && IsValidId(name.substr(kPrefix.size()))) {
      continue;
    }
    errors.Add("tenant.models", "RESOURCE_NAME_INVALID",
               absl::StrCat("has ", Quoted(model, gateway_limits::kQuotedBytesMax)),
               "must be models/{model}, the id 1 to 63 characters of a-z, 0-9 and -");
    return;
  }
}

void CheckQuotas(const v1::TenantQuotas& quotas, FieldErrors& errors) {
  const auto check = [&](bool has, int64_t value, int64_t min, int64_t max, const char* name) {
    if (has) CheckRange(value, min, max, absl::StrCat("tenant.quotas.", name), errors);
  };
  check(quotas.has_generations_max(), quotas.generations_max(), 1, kTenantGenerationsMax,
        "generations_max");
  check(quotas.has_running_max(), quotas.running_max(), 1, kTenantRunningMax, "running_max");
  check(quotas.has_generations_burst(), quotas.generations_burst(), 1, kTenantBurstMax,
        "generations_burst");
  check(quotas.has_pixels_max(), quotas.pixels_max(), 1, kTenantPixelsMax, "pixels_max");
  check(quotas.has_steps_max(), quotas.steps_max(), 1, kTenantStepsMax, "steps_max");
  check(quotas.has_asset_bytes_max(), quotas.asset_bytes_max(), kTenantAssetBytesMin,
        kTenantAssetBytesMax, "asset_bytes_max");
  if (quotas.has_budget_seconds()) {
    CheckRange(quotas.budget_seconds(), 0.0, kTenantBudgetSecondsMax,
               "tenant.quotas.budget_seconds", errors);
  }
  if (quotas.has_generations_per_second()) {
    CheckRange(quotas.generations_per_second(), kTenantRateMin, kTenantRateMax,
               "tenant.quotas.generations_per_second", errors);
  } else if (quotas.has_generations_burst()) {
    errors.Add("tenant.quotas.generations_burst", "TENANT_VALUE_OUT_OF_RANGE",
               "is set without generations_per_second", "must be unset, or both be set");
  }
}

void CheckKinds(const v1::Tenant& tenant, FieldErrors& errors) {
  if (!v1::ServiceClass_IsValid(tenant.service_class())) {
    errors.Add("tenant.service_class", "SERVICE_CLASS_UNKNOWN",
               absl::StrCat("is ", static_cast<int>(tenant.service_class())),
               "must be SERVICE_CLASS_GUARANTEED, _TARGET or _BEST_EFFORT, or unset");
  }
  if (tenant.isolation() == v1::Tenant::ISOLATION_DEDICATED) {
    errors.Add("tenant.isolation", "ISOLATION_NEEDS_CONFIGURATION", "is ISOLATION_DEDICATED",
               "must be ISOLATION_SHARED or ISOLATION_EXCLUSIVE_BATCH: a tenant with workers of "
               "its own is made in the server's configuration, since they start with the server");
  } else if (!v1::Tenant::Isolation_IsValid(tenant.isolation())) {
    errors.Add("tenant.isolation", "ISOLATION_UNKNOWN",
               absl::StrCat("is ", static_cast<int>(tenant.isolation())),
               "must be ISOLATION_SHARED or ISOLATION_EXCLUSIVE_BATCH, or unset");
  }
}

// Fills in defaults and checks everything that a client may set.
void Resolve(v1::Tenant& tenant, FieldErrors& errors) {
  CheckTitle(tenant.title(), errors);
  if (!tenant.has_weight()) tenant.set_weight(1);
  CheckRange(tenant.weight(), kTenantWeightMin, kTenantWeightMax, "tenant.weight", errors);
  if (tenant.service_class() == v1::SERVICE_CLASS_UNSPECIFIED) {
    tenant.set_service_class(v1::SERVICE_CLASS_BEST_EFFORT);
  }
  if (tenant.isolation() == v1::Tenant::ISOLATION_UNSPECIFIED) {
    tenant.set_isolation(v1::Tenant::ISOLATION_SHARED);
  }
  CheckKinds(tenant, errors);
  CheckModels(tenant, errors);
  CheckQuotas(tenant.quotas(), errors);
}

FieldMask All() {
  FieldMask mask;
  for (const char* path : kSettable) mask.add_paths(path);
  return mask;
}

bool IsSettable(const std::string& path) {
  if (absl::StartsWith(path, "quotas.")) return FieldMaskUtil::IsValidPath<v1::Tenant>(path);
  return std::find(kSettable.begin(), kSettable.end(), path) != kSettable.end();
}

}  // namespace

absl::StatusOr<v1::Tenant> NewTenantOf(const v1::CreateTenantRequest& request) {
  FieldErrors errors;
  if (!IsValidId(request.tenant_id()) || request.tenant_id() == kOwnTenant) {
    errors.Add("tenant_id", "TENANT_ID_INVALID",
               absl::StrCat("is ", Quoted(request.tenant_id(), gateway_limits::kQuotedBytesMax)),
               "must be 1 to 63 characters of a-z, 0-9 and -, and not - alone");
  }
  if (!request.request_id().empty() && !IsRequestId(request.request_id())) {
    errors.Add("request_id", "REQUEST_ID_INVALID",
               absl::StrCat("is ", Quoted(request.request_id(), gateway_limits::kQuotedBytesMax)),
               "must be empty or a UUID like 123e4567-e89b-12d3-a456-426614174000");
  }
  v1::Tenant tenant;
  FieldMaskUtil::MergeMessageTo(request.tenant(), All(), FieldMaskUtil::MergeOptions(), &tenant);
  Resolve(tenant, errors);
  if (!errors.empty()) return errors.ToStatus();
  tenant.set_name(absl::StrCat("tenants/", request.tenant_id()));
  return tenant;
}

absl::StatusOr<FieldMask> MaskOf(const v1::UpdateTenantRequest& request) {
  if (request.update_mask().paths_size() == 1 && request.update_mask().paths(0) == "*") {
    return All();
  }
  FieldMask mask;
  if (request.update_mask().paths().empty()) {
    const v1::Tenant& tenant = request.tenant();
    const std::array<bool, kSettable.size()> is_set = {
        !tenant.title().empty(),
        tenant.has_weight(),
        tenant.service_class() != v1::SERVICE_CLASS_UNSPECIFIED,
        tenant.isolation() != v1::Tenant::ISOLATION_UNSPECIFIED,
        tenant.models_size() > 0,
        false};
    for (size_t i = 0; i < kSettable.size(); ++i) {
      if (is_set[i]) mask.add_paths(kSettable[i]);
    }
    const auto& quotas = tenant.quotas();
    std::vector<const google::protobuf::FieldDescriptor*> fields;
    quotas.GetReflection()->ListFields(quotas, &fields);
    for (const auto* field : fields) mask.add_paths(absl::StrCat("quotas.", field->name()));
    return mask;
  }
  FieldErrors errors;
  for (const std::string& path : request.update_mask().paths()) {
    if (!IsSettable(path)) {
      errors.Add("update_mask", "UPDATE_MASK_INVALID",
                 absl::StrCat("has ", Quoted(path, gateway_limits::kQuotedBytesMax)),
                 "must have title, weight, service_class, isolation, models, quotas or a field of "
                 "it such as quotas.steps_max; or * alone for all");
    }
    if (errors.empty()) mask.add_paths(path);
  }
  if (!errors.empty()) return errors.ToStatus();
  return mask;
}

absl::Status ApplyUpdate(const v1::UpdateTenantRequest& request, const FieldMask& mask,
                         v1::Tenant& tenant) {
  const std::string& etag = request.tenant().etag();
  if (!etag.empty() && etag != tenant.etag()) {
    return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                 "the tenant was changed since its etag was read; read it again");
  }
  FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  FieldMaskUtil::MergeMessageTo(request.tenant(), mask, options, &tenant);
  FieldErrors errors;
  Resolve(tenant, errors);
  return errors.ToStatus();
}

std::string RequestHash(const v1::CreateTenantRequest& request) {
  v1::CreateTenantRequest hashed = request;
  hashed.clear_request_id();
  return Sha256Hex(hashed.SerializeAsString());
}

}  // namespace darkroom
