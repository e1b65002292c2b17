#include "gateway/tenant_quotas.h"

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

v1::GenerateRequest Request(int width, int height, int steps) {
  v1::GenerateRequest request;
  request.set_width(width);
  request.set_height(height);
  request.mutable_sampling()->set_steps(steps);
  return request;
}

TEST(TenantQuotasTest, BoundsPixelsAndSteps) {
  v1::Tenant tenant;
  EXPECT_TRUE(CheckRequestQuotas(tenant, Request(1 << 15, 1 << 15, 1000)).ok());
  tenant.mutable_quotas()->set_pixels_max(100 * 100);
  tenant.mutable_quotas()->set_steps_max(20);
  EXPECT_TRUE(CheckRequestQuotas(tenant, Request(100, 100, 20)).ok());
  const absl::Status pixels = CheckRequestQuotas(tenant, Request(101, 100, 20));
  EXPECT_EQ(ErrorReason(pixels), "TENANT_PIXELS");
  EXPECT_EQ(pixels.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pixels.message(),
            "the request has 10100 pixels in one picture; this tenant may have at most 10000 "
            "pixels in one picture");
  EXPECT_TRUE(pixels.GetPayload("type.googleapis.com/google.rpc.QuotaFailure"));
  EXPECT_FALSE(pixels.GetPayload("type.googleapis.com/google.rpc.RetryInfo"))
      << "waiting does not help";
  EXPECT_EQ(ErrorReason(CheckRequestQuotas(tenant, Request(100, 100, 21))), "TENANT_STEPS");
  // A side that is left to a picture is not known yet.
  EXPECT_TRUE(CheckRequestQuotas(tenant, Request(0, 100'000, 20)).ok());
  // As wide as a number can be.
  EXPECT_EQ(ErrorReason(CheckRequestQuotas(tenant, Request(INT32_MAX, INT32_MAX, 1))),
            "TENANT_PIXELS");
}

TEST(TenantQuotasTest, ModelsThatATenantMayNotUseAreNotThere) {
  std::vector<v1::Model> models(2);
  models[0].set_name("models/dit");
  models[1].set_name("models/flux");
  v1::Tenant tenant;
  EXPECT_EQ(ModelsFor(tenant, models).size(), 2u);
  tenant.add_models("models/flux");
  tenant.add_models("models/later");
  ASSERT_EQ(ModelsFor(tenant, models).size(), 1u);
  EXPECT_EQ(ModelsFor(tenant, models)[0].name(), "models/flux");
}

}  // namespace
}  // namespace darkroom
