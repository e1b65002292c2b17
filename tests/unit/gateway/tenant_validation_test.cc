#include "gateway/tenant_validation.h"

#include <limits>
#include <string>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::CreateTenantRequest Create(const std::string& id = "studio") {
  v1::CreateTenantRequest request;
  request.set_tenant_id(id);
  return request;
}
std::string Reason(const v1::CreateTenantRequest& request) {
  return ErrorReason(NewTenantOf(request).status());
}

TEST(TenantValidationTest, FillsInDefaultsAndDropsWhatIsTheServersToSay) {
  v1::CreateTenantRequest request = Create();
  request.mutable_tenant()->set_name("tenants/other");
  request.mutable_tenant()->set_etag("x");
  request.mutable_tenant()->set_source(v1::Tenant::SOURCE_CONFIGURATION);
  request.mutable_tenant()->set_dedicated_workers(4);
  request.mutable_tenant()->mutable_quotas()->set_steps_max(9);
  const auto tenant = NewTenantOf(request);
  ASSERT_TRUE(tenant.ok()) << tenant.status();
  EXPECT_EQ(tenant->name(), "tenants/studio");
  EXPECT_EQ(tenant->weight(), 1);
  EXPECT_EQ(tenant->service_class(), v1::SERVICE_CLASS_BEST_EFFORT);
  EXPECT_EQ(tenant->isolation(), v1::Tenant::ISOLATION_SHARED);
  EXPECT_EQ(tenant->quotas().steps_max(), 9);
  EXPECT_EQ(tenant->etag(), "");
  EXPECT_EQ(tenant->source(), v1::Tenant::SOURCE_UNSPECIFIED);
  EXPECT_EQ(tenant->dedicated_workers(), 0);
}

TEST(TenantValidationTest, RefusesWhatIsNoTenant) {
  for (const char* id : {"", "-", "Studio", "a/b", "..", "a b"}) {
    EXPECT_EQ(Reason(Create(id)), "TENANT_ID_INVALID") << id;
  }
  v1::CreateTenantRequest request = Create();
  request.set_request_id("1");
  EXPECT_EQ(Reason(request), "REQUEST_ID_INVALID");

  for (const double weight : {0.0, -1.0, 1e7, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity()}) {
    request = Create();
    request.mutable_tenant()->set_weight(weight);
    EXPECT_EQ(Reason(request), "TENANT_VALUE_OUT_OF_RANGE") << weight;
  }
  request = Create();
  request.mutable_tenant()->set_title(std::string(257, 'x'));
  EXPECT_EQ(Reason(request), "TITLE_TOO_LONG");
  request.mutable_tenant()->set_title("a\nb");
  EXPECT_EQ(Reason(request), "TITLE_INVALID");
  request = Create();
  request.mutable_tenant()->add_models("dit");
  EXPECT_EQ(Reason(request), "RESOURCE_NAME_INVALID");
  request.mutable_tenant()->clear_models();
  for (int i = 0; i < 65; ++i) request.mutable_tenant()->add_models("models/dit");
  EXPECT_EQ(Reason(request), "MODELS_TOO_MANY");
  request = Create();
  request.mutable_tenant()->set_isolation(v1::Tenant::ISOLATION_DEDICATED);
  EXPECT_EQ(Reason(request), "ISOLATION_NEEDS_CONFIGURATION");
  request.mutable_tenant()->set_isolation(static_cast<v1::Tenant::Isolation>(9));
  EXPECT_EQ(Reason(request), "ISOLATION_UNKNOWN");
  request = Create();
  request.mutable_tenant()->set_service_class(static_cast<v1::ServiceClass>(9));
  EXPECT_EQ(Reason(request), "SERVICE_CLASS_UNKNOWN");
}

TEST(TenantValidationTest, EveryQuotaHasItsRange) {
  const google::protobuf::Descriptor& quotas = *v1::TenantQuotas::descriptor();
  for (int i = 0; i < quotas.field_count(); ++i) {
    const auto& field = *quotas.field(i);
    for (const double value : {-1.0, 0.0, 2e9, 2e12}) {
      v1::CreateTenantRequest request = Create();
      auto& message = *request.mutable_tenant()->mutable_quotas();
      message.set_generations_per_second(1);
      const auto& reflection = *message.GetReflection();
      using Field = google::protobuf::FieldDescriptor;
      if (field.cpp_type() == Field::CPPTYPE_DOUBLE) {
        reflection.SetDouble(&message, &field, value);
      } else if (field.cpp_type() == Field::CPPTYPE_INT64) {
        reflection.SetInt64(&message, &field, static_cast<int64_t>(value));
      } else if (value > INT32_MAX) {
        continue;
      } else {
        reflection.SetInt32(&message, &field, static_cast<int32_t>(value));
      }
      const bool in_range = (field.name() == "asset_bytes_max" && value == 2e9) ||
                            (field.name() == "budget_seconds" && value == 0.0);
      EXPECT_EQ(Reason(request), in_range ? "" : "TENANT_VALUE_OUT_OF_RANGE")
          << field.name() << " " << value;
    }
  }
  v1::CreateTenantRequest request = Create();
  request.mutable_tenant()->mutable_quotas()->set_generations_burst(3);
  EXPECT_EQ(Reason(request), "TENANT_VALUE_OUT_OF_RANGE") << "a burst needs a rate";
}

v1::Tenant Existing() {
  v1::Tenant tenant = *NewTenantOf(Create());
  tenant.set_title("the web shop");
  tenant.set_weight(3);
  tenant.mutable_quotas()->set_steps_max(9);
  tenant.mutable_quotas()->set_pixels_max(10'000);
  tenant.set_etag("etag");
  return tenant;
}

TEST(TenantValidationTest, AMaskNamesWhatChanges) {
  v1::UpdateTenantRequest request;
  request.mutable_tenant()->set_name("tenants/studio");
  request.mutable_tenant()->set_weight(5);
  request.mutable_tenant()->mutable_quotas()->set_steps_max(7);
  // Unsaid: what is set.
  auto mask = MaskOf(request);
  ASSERT_TRUE(mask.ok());
  EXPECT_THAT(mask->paths(), ElementsAre("weight", "quotas.steps_max"));
  v1::Tenant tenant = Existing();
  ASSERT_TRUE(ApplyUpdate(request, *mask, tenant).ok());
  EXPECT_EQ(tenant.weight(), 5);
  EXPECT_EQ(tenant.title(), "the web shop");
  EXPECT_EQ(tenant.quotas().steps_max(), 7);
  EXPECT_EQ(tenant.quotas().pixels_max(), 10'000);

  // Named and not set: back to the default.
  request.mutable_update_mask()->add_paths("quotas.pixels_max");
  request.mutable_update_mask()->add_paths("title");
  tenant = Existing();
  ASSERT_TRUE(ApplyUpdate(request, *MaskOf(request), tenant).ok());
  EXPECT_FALSE(tenant.quotas().has_pixels_max());
  EXPECT_EQ(tenant.title(), "");
  EXPECT_EQ(tenant.weight(), 3) << "not named";

  request.clear_update_mask();
  request.mutable_update_mask()->add_paths("*");
  tenant = Existing();
  ASSERT_TRUE(ApplyUpdate(request, *MaskOf(request), tenant).ok());
  EXPECT_EQ(tenant.title(), "");
  EXPECT_EQ(tenant.weight(), 5);
  EXPECT_FALSE(tenant.quotas().has_pixels_max());
}

TEST(TenantValidationTest, RefusesMasksOfWhatCannotBeSet) {
  for (const char* path : {"name", "etag", "source", "state", "dedicated_workers", "create_time",
                           "nothing", "quotas.nothing", "", "*", "quotas.steps_max.x"}) {
    v1::UpdateTenantRequest request;
    request.mutable_update_mask()->add_paths("title");
    request.mutable_update_mask()->add_paths(path);
    EXPECT_EQ(ErrorReason(MaskOf(request).status()), "UPDATE_MASK_INVALID") << path;
  }
}

TEST(TenantValidationTest, AnUpdateIsCheckedAsAWhole) {
  v1::UpdateTenantRequest request;
  request.mutable_tenant()->set_weight(-1);
  v1::Tenant tenant = Existing();
  EXPECT_EQ(ErrorReason(ApplyUpdate(request, *MaskOf(request), tenant)),
            "TENANT_VALUE_OUT_OF_RANGE");
  request.mutable_tenant()->set_weight(1);
  request.mutable_tenant()->set_etag("old");
  tenant = Existing();
  const absl::Status stale = ApplyUpdate(request, *MaskOf(request), tenant);
  EXPECT_EQ(stale.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(stale), "ETAG_MISMATCH");
  request.mutable_tenant()->set_etag("etag");
  EXPECT_TRUE(ApplyUpdate(request, *MaskOf(request), tenant).ok());
}

TEST(TenantValidationTest, TheHashIsOfAllButTheRequestId) {
  v1::CreateTenantRequest one = Create();
  one.set_request_id("a");
  v1::CreateTenantRequest two = Create();
  two.set_request_id("b");
  EXPECT_EQ(RequestHash(one), RequestHash(two));
  two.mutable_tenant()->set_weight(2);
  EXPECT_NE(RequestHash(one), RequestHash(two));
}

}  // namespace
}  // namespace darkroom
