#include "config/tenants.h"

#include <cmath>
#include <functional>
#include <string>

#include "base/error.h"
#include "config/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::vector<Config::Tenant>> Resolve(
    const std::function<void(v1::TenantConfig&)>& change) {
  v1::DaemonConfig proto;
  proto.add_tenants()->set_name("ada");
  change(*proto.mutable_tenants(0));
  return ResolveTenants(proto, 1000);
}

std::string Refusal(const std::function<void(v1::TenantConfig&)>& change) {
  const auto tenants = Resolve(change);
  EXPECT_EQ(tenants.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tenants.status().message());
}

TEST(TenantsTest, WithoutAnyThereIsLocal) {
  const auto tenants = ResolveTenants({}, 77);
  ASSERT_TRUE(tenants.ok()) << tenants.status();
  ASSERT_EQ(tenants->size(), 1);
  const Config::Tenant& local = tenants->front();
  EXPECT_EQ(local.name, "local");
  EXPECT_EQ(local.weight, 1);
  EXPECT_EQ(local.service_class, Config::ServiceClass::kBestEffort);
  EXPECT_EQ(local.isolation, Config::Isolation::kShared);
  EXPECT_EQ(local.dedicated_workers, 0);
  EXPECT_EQ(local.generations_max, 77);
  EXPECT_EQ(local.running_max, 0);
  EXPECT_EQ(local.generations_per_second, 0);
  EXPECT_EQ(local.generations_burst, 1);
  EXPECT_FALSE(local.budget_seconds.has_value());
}

TEST(TenantsTest, WhatIsSetIsKept) {
  const auto tenants = Resolve([](v1::TenantConfig& tenant) {
    tenant.set_weight(2.5);
    tenant.set_service_class("guaranteed");
    tenant.set_isolation("dedicated");
    tenant.set_dedicated_workers(3);
    tenant.set_generations_max(10);
    tenant.set_running_max(4);
    tenant.set_generations_per_second(0.5);
    tenant.set_generations_burst(20);
    tenant.set_budget_seconds(0.5);
  });
  ASSERT_TRUE(tenants.ok()) << tenants.status();
  ASSERT_EQ(tenants->size(), 2) << "local is there, too";
  const Config::Tenant& ada = tenants->front();
  EXPECT_EQ(ada.name, "ada");
  EXPECT_EQ(ada.weight, 2.5);
  EXPECT_EQ(ada.service_class, Config::ServiceClass::kGuaranteed);
  EXPECT_EQ(ada.isolation, Config::Isolation::kDedicated);
  EXPECT_EQ(ada.dedicated_workers, 3);
  EXPECT_EQ(ada.generations_max, 10);
  EXPECT_EQ(ada.running_max, 4);
  EXPECT_EQ(ada.generations_per_second, 0.5);
  EXPECT_EQ(ada.generations_burst, 20);
  EXPECT_EQ(ada.budget_seconds, 0.5);
}

TEST(TenantsTest, LimitsOfOneRequestAndModels) {
  v1::DaemonConfig proto;
  auto* ada = proto.add_tenants();
  ada->set_name("ada");
  ada->set_pixels_max(1 << 20);
  ada->set_steps_max(50);
  ada->set_asset_bytes_max(1 << 20);
  ada->add_models("flux");
  auto tenants = ResolveTenants(proto, 1000);
  ASSERT_TRUE(tenants.ok()) << tenants.status();
  EXPECT_EQ(tenants->front().pixels_max, 1 << 20);
  EXPECT_EQ(tenants->front().steps_max, 50);
  EXPECT_EQ(tenants->front().asset_bytes_max, 1 << 20);
  Config config;
  config.tenants = *tenants;
  config.models = {{"path", "flux", "f32"}};
  EXPECT_TRUE(CheckTenantModels(config).ok());
  config.models[0].name = "flux-dev";
  EXPECT_EQ(std::string(CheckTenantModels(config).message()),
            "tenants[0].models[0] is \"flux\"; it must be the name of one of the models; nearest: "
            "\"flux-dev\"");
  EXPECT_THAT(Refusal([](v1::TenantConfig& tenant) { tenant.set_asset_bytes_max(5); }),
              HasSubstr("must be 1048576 to 1099511627776; nearest: 1048576"));
}

TEST(TenantsTest, LocalMayBeConfiguredLikeAnyOther) {
  v1::DaemonConfig proto;
  auto* local = proto.add_tenants();
  local->set_name("local");
  local->set_weight(9);
  const auto tenants = ResolveTenants(proto, 1000);
  ASSERT_TRUE(tenants.ok()) << tenants.status();
  ASSERT_EQ(tenants->size(), 1);
  EXPECT_EQ(tenants->front().weight, 9);
}

TEST(TenantsTest, WeightsArePositiveAndFinite) {
  for (const double weight : {0.0, -1.0, -HUGE_VAL, 0.0009}) {
    EXPECT_THAT(Refusal([&](v1::TenantConfig& tenant) { tenant.set_weight(weight); }),
                HasSubstr("it must be 0.001 to 1e+06; nearest: 0.001"));
  }
  EXPECT_THAT(Refusal([](v1::TenantConfig& tenant) { tenant.set_weight(HUGE_VAL); }),
              HasSubstr("nearest: 1e+06"));
  EXPECT_EQ(Refusal([](v1::TenantConfig& tenant) { tenant.set_weight(std::nan("")); }),
            "tenants[0].weight is nan; it must be 0.001 to 1e+06; nearest: 1");
}

TEST(TenantsTest, NamesAreValidAndApart) {
  EXPECT_EQ(Refusal([](v1::TenantConfig& tenant) { tenant.clear_name(); }),
            "tenants[0].name is not set; it tells whose calls are meant");
  EXPECT_THAT(Refusal([](v1::TenantConfig& tenant) { tenant.set_name("Ada L"); }),
              HasSubstr("must be 1 to 63 characters of a-z, 0-9 and -"));
  v1::DaemonConfig proto;
  proto.add_tenants()->set_name("ada");
  proto.add_tenants()->set_name("ada");
  EXPECT_EQ(std::string(ResolveTenants(proto, 1).status().message()),
            "tenants[1].name is \"ada\"; it must be unlike every other tenant's; set another name");
}

TEST(TenantsTest, ThereAreNotTooMany) {
  v1::DaemonConfig proto;
  for (int i = 0; i < kConfigTenantsMax; ++i) proto.add_tenants()->set_name(std::to_string(i));
  EXPECT_TRUE(ResolveTenants(proto, 1).ok());
  proto.add_tenants()->set_name("one-more");
  EXPECT_EQ(std::string(ResolveTenants(proto, 1).status().message()),
            "tenants is 1025 entries long; it may have up to 1024");
}

TEST(TenantsTest, ClassesAndLevelsAreKnownOnes) {
  EXPECT_EQ(Refusal([](v1::TenantConfig& tenant) { tenant.set_service_class("guarantee"); }),
            "tenants[0].service_class is \"guarantee\"; it must be one of guaranteed, target, "
            "best_effort; nearest: \"guaranteed\"");
  EXPECT_EQ(Refusal([](v1::TenantConfig& tenant) { tenant.set_isolation("exclusive"); }),
            "tenants[0].isolation is \"exclusive\"; it must be one of shared, exclusive_batch, "
            "dedicated; nearest: \"exclusive_batch\"");
}

TEST(TenantsTest, DedicatedMeansWorkersOfItsOwn) {
  EXPECT_THAT(Refusal([](v1::TenantConfig& tenant) { tenant.set_isolation("dedicated"); }),
              HasSubstr("must be 1 to 64 where isolation is dedicated; nearest: 1"));
  EXPECT_THAT(Refusal([](v1::TenantConfig& tenant) { tenant.set_dedicated_workers(1); }),
              HasSubstr("must be 0 where isolation is not dedicated; nearest: 0"));
}

TEST(TenantsTest, ABurstNeedsARate) {
  EXPECT_THAT(Refusal([](v1::TenantConfig& tenant) { tenant.set_generations_burst(5); }),
              HasSubstr("means nothing without generations_per_second"));
}

}  // namespace
}  // namespace darkroom
