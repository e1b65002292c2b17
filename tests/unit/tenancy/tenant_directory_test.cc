#include "tenancy/tenant_directory.h"

#include <string>

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

v1::TenantRecord Record(const std::string& id, double weight = 1) {
  v1::TenantRecord record;
  record.mutable_tenant()->set_name("tenants/" + id);
  record.mutable_tenant()->set_weight(weight);
  return record;
}

TEST(TenantDirectoryTest, FindsWhatOpensTheServer) {
  TenantDirectory directory({"local"});
  EXPECT_TRUE(directory.Has("local"));
  EXPECT_FALSE(directory.Has("studio"));
  EXPECT_FALSE(directory.Has(""));
  EXPECT_FALSE(directory.Has("tenants/local"));
  directory.Put(Record("studio", 3));
  ASSERT_NE(directory.Find("studio"), nullptr);
  EXPECT_EQ(directory.Find("studio")->weight(), 3);
  EXPECT_EQ(directory.Find("studio")->source(), v1::Tenant::SOURCE_API);
  directory.Remove("tenants/studio");
  EXPECT_FALSE(directory.Has("studio"));
  EXPECT_EQ(ErrorReason(directory.Get("tenants/studio").status()), "TENANT_NOT_FOUND");
}

TEST(TenantDirectoryTest, OneThatIsBeingDeletedIsListedAndOpensNothing) {
  TenantDirectory directory({"local"});
  v1::TenantRecord record = Record("studio");
  record.mutable_delete_time()->set_seconds(1);
  directory.Put(record);
  EXPECT_FALSE(directory.Has("studio"));
  EXPECT_EQ(directory.Get("tenants/studio")->state(), v1::Tenant::STATE_DELETING);
  EXPECT_EQ(directory.List("", 10).size(), 2u);
}

TEST(TenantDirectoryTest, TheConfigurationGoesFirst) {
  TenantDirectory directory({"studio"});
  directory.Put(Record("studio", 9));
  EXPECT_FALSE(directory.Find("studio")->has_weight());
  directory.Remove("tenants/studio");
  EXPECT_TRUE(directory.Has("studio"));
  EXPECT_TRUE(directory.IsConfigured("tenants/studio"));
  EXPECT_FALSE(directory.IsConfigured("tenants/other"));
}

TEST(TenantDirectoryTest, ListsByNameInPages) {
  TenantDirectory directory({"b", "a"});
  directory.Put(Record("c"));
  const auto first = directory.List("", 2);
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].name(), "tenants/a");
  const auto rest = directory.List(first[1].name(), 2);
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].name(), "tenants/c");
}

TEST(TenantDirectoryTest, TheEtagTellsOneFromAnother) {
  const v1::Tenant one = ShownTenant(Record("studio", 1));
  EXPECT_EQ(one.etag(), ShownTenant(Record("studio", 1)).etag());
  EXPECT_NE(one.etag(), ShownTenant(Record("studio", 2)).etag());
  EXPECT_EQ(one.etag().size(), 16u);
}

}  // namespace
}  // namespace darkroom
