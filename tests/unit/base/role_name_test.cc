#include "base/role_name.h"

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(RoleNameTest, ReadsWhatItWritesAndNothingElse) {
  EXPECT_EQ(RoleName(v1::ROLE_TENANT_ADMIN), "tenant_admin");
  for (int value = v1::Role_MIN + 1; value <= v1::Role_MAX; ++value) {
    const auto role = static_cast<v1::Role>(value);
    EXPECT_EQ(ParseRole(RoleName(role)), role);
  }
  for (const char* text : {"", "unspecified", "OPERATOR", "operator ", "ROLE_OPERATOR", "root"}) {
    EXPECT_EQ(ParseRole(text), v1::ROLE_UNSPECIFIED) << text;
  }
}

TEST(RoleNameTest, TenantsRolesActForATenant) {
  EXPECT_TRUE(IsTenantRole(v1::ROLE_TENANT_USER));
  EXPECT_TRUE(IsTenantRole(v1::ROLE_TENANT_ADMIN));
  EXPECT_FALSE(IsTenantRole(v1::ROLE_OPERATOR));
  EXPECT_FALSE(IsTenantRole(v1::ROLE_AUDITOR));
}

}  // namespace
}  // namespace darkroom
