#include "gateway/tenant_quotas.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {
namespace {

// `field`: what to change in the request.
absl::Status OverQuota(std::string_view reason, const std::string& quota, int64_t used,
                       int64_t limit, const std::string& what, std::string_view field) {
  const std::string rule = absl::StrCat("at most ", limit, " ", what);
  return Error(absl::StatusCode::kResourceExhausted, reason,
               absl::StrCat("the request has ", used, " ", what, "; this tenant may have ", rule))
      .Quota(quota, rule)
      .Field(field, rule);
}

}  // namespace

std::vector<v1::Model> ModelsFor(const v1::Tenant& tenant, std::vector<v1::Model> models) {
  if (tenant.models().empty()) return models;
  std::erase_if(models, [&](const v1::Model& model) {
    return std::find(tenant.models().begin(), tenant.models().end(), model.name()) ==
           tenant.models().end();
  });
  return models;
}

absl::Status CheckRequestQuotas(const v1::Tenant& tenant, const v1::GenerateRequest& resolved) {
  const v1::TenantQuotas& quotas = tenant.quotas();
  const int64_t pixels = int64_t{resolved.width()} * resolved.height();
  if (quotas.has_pixels_max() && pixels > quotas.pixels_max()) {
    return OverQuota("TENANT_PIXELS", "pixels_max", pixels, quotas.pixels_max(),
                     "pixels in one picture", "width");
  }
  const int64_t steps = resolved.sampling().steps();
  if (quotas.has_steps_max() && steps > quotas.steps_max()) {
    return OverQuota("TENANT_STEPS", "steps_max", steps, quotas.steps_max(),
                     "steps for one picture", "sampling.steps");
  }
  return absl::OkStatus();
}

}  // namespace darkroom
