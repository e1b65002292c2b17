#include "gateway/call_gate.h"

#include <string>

#include "base/error.h"
#include "gateway/methods.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

// Believes whatever it was made with.
class FixedAuthenticator final : public Authenticator {
 public:
  explicit FixedAuthenticator(absl::StatusOr<Principal> principal)
      : principal_(std::move(principal)) {}
  absl::StatusOr<Principal> Authenticate(const Credentials&) const override { return principal_; }

 private:
  const absl::StatusOr<Principal> principal_;
};

const Method kCreate = methods::generation_service::kCreateGeneration;

TEST(CallGateTest, RefusesBeyondItsBoundWithARetryTime) {
  const FixedAuthenticator anyone(
      Principal{.id = "loopback", .tenant = "local", .roles = Roles::All()});
  CallGate gate(2, anyone);
  auto first = gate.Enter(kCreate, {});
  auto second = gate.Enter(kCreate, {});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*first)->caller.tenant, "local");
  const auto third = gate.Enter(kCreate, {});
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(third.status()), "CALLS_TOO_MANY");
  EXPECT_TRUE(third.status().GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  EXPECT_TRUE(third.status().GetPayload("type.googleapis.com/google.rpc.QuotaFailure"));
  first->reset();
  EXPECT_TRUE(gate.Enter(kCreate, {}).ok());
}

TEST(CallGateTest, ARefusedCallKeepsNoRoom) {
  const FixedAuthenticator nobody(
      absl::Status(Error(absl::StatusCode::kUnauthenticated, "CREDENTIALS_INVALID", "no")));
  CallGate gate(1, nobody);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ErrorReason(gate.Enter(kCreate, {}).status()), "CREDENTIALS_INVALID");
  }
  EXPECT_EQ(gate.open_calls(), 0);
}

// Every method there is, against every role: what the protos say holds, and nothing else.
TEST(CallGateTest, EveryMethodIsForItsRolesOnly) {
  int refused = 0;
  for (int value = v1::Role_MIN + 1; value <= v1::Role_MAX; ++value) {
    const auto role = static_cast<v1::Role>(value);
    const FixedAuthenticator one(Principal{.id = "x", .tenant = "t", .roles = Roles(role)});
    CallGate gate(1, one);
    for (const Method& method : methods::kAll) {
      const auto call = gate.Enter(method, {});
      EXPECT_EQ(call.ok(), method.roles.Has(role)) << method.name << " " << v1::Role_Name(role);
      if (call.ok()) continue;
      ++refused;
      EXPECT_EQ(call.status().code(), absl::StatusCode::kPermissionDenied);
      EXPECT_EQ(ErrorReason(call.status()), "ROLE_NOT_ALLOWED");
      EXPECT_THAT(std::string(call.status().message()), HasSubstr(method.name));
    }
  }
  EXPECT_GT(refused, 20);
}

TEST(MethodsTest, NoRoleOfATenantRunsTheServerAndNoOperatorSeesContent) {
  for (const Method& method : methods::kAll) {
    const std::string service = method.service;
    const bool is_admin = service == "darkroom.v1.ServerAdminService";
    const bool is_content =
        service == "darkroom.v1.GenerationService" || service == "darkroom.v1.AssetService";
    if (is_admin) {
      EXPECT_FALSE(method.roles.Has(v1::ROLE_TENANT_USER)) << method.name;
      EXPECT_FALSE(method.roles.Has(v1::ROLE_TENANT_ADMIN)) << method.name;
    }
    if (is_content) {
      EXPECT_FALSE(method.roles.Has(v1::ROLE_OPERATOR)) << method.name;
      EXPECT_FALSE(method.roles.Has(v1::ROLE_AUDITOR)) << method.name;
    }
  }
}

}  // namespace
}  // namespace darkroom
