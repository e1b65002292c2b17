// Tenants over real connections: made, changed and deleted while others call.

#include <memory>
#include <string>
#include <utility>

#include "darkroom/v1/tenant.grpc.pb.h"
#include "gmock/gmock.h"
#include "store/store_thread.h"
#include "tenancy/authenticators.h"
#include "tenancy/local_keys.h"
#include "tenancy/local_tenants.h"
#include "testing/memory_store.h"
#include "unit/gateway/gateway_fixture.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::darkroom::testing::GatewayFixture;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using Admin = v1::TenantAdminService::Stub;

class GatewayTenantsTest : public GatewayFixture {
 protected:
  GatewayTenantsTest() {
    Gateway::Options options;
    options.directory = &directory_;
    options.tenants = &tenants_;
    options.keys = &keys_;
    StartGateway({}, options);
    tenant_admin_ = v1::TenantAdminService::NewStub(admin_channel_);
  }
  void TearDown() override { gateway_->Shutdown(absl::ZeroDuration()); }

  template <typename Stub, typename Request, typename Response>
  std::string Call(const std::string& tenant, Stub& stub,
                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response& response) {
    grpc::ClientContext context;
    if (!tenant.empty()) context.AddMetadata("darkroom-tenant", tenant);
    return Reason((stub.*method)(&context, request, &response));
  }
  std::string Create(const std::string& id, const v1::Tenant& tenant = {}) {
    v1::CreateTenantRequest request;
    request.set_tenant_id(id);
    *request.mutable_tenant() = tenant;
    v1::Tenant made;
    return Call("", *tenant_admin_, &Admin::CreateTenant, request, made);
  }
  std::string Delete(const std::string& id) {
    v1::DeleteTenantRequest request;
    request.set_name("tenants/" + id);
    google::protobuf::Empty empty;
    return Call("", *tenant_admin_, &Admin::DeleteTenant, request, empty);
  }
  std::string Generate(const std::string& tenant, int steps = 2) {
    v1::CreateGenerationRequest request;
    *request.mutable_request() = Goldfish(steps);
    v1::Generation generation;
    return Call(tenant, *generations_, &v1::GenerationService::Stub::CreateGeneration, request,
                generation);
  }

  TenantDirectory directory_{{"local"}};
  KeyRing ring_{"a pepper"};
  StoreThread store_{std::make_unique<MemoryStore>(std::make_shared<MemoryDisk>())};
  LocalKeys keys_{store_, ring_, clock_};
  LocalTenants tenants_{
      store_, directory_, ring_, clock_,
      LocalTenants::Followers{
          .changed = [](const v1::Tenant&) {},
          .stop = [](const std::string&, auto done) { std::move(done)(absl::OkStatus()); },
          .delete_bytes = [](const std::string&,
                             auto done) { std::move(done)(absl::OkStatus()); }}};
  std::unique_ptr<Admin> tenant_admin_;
};

TEST_F(GatewayTenantsTest, ATenantOpensTheServerAsLongAsThereIsOne) {
  EXPECT_EQ(Generate("studio"), "TENANT_UNKNOWN");
  EXPECT_EQ(Create("studio"), "");
  EXPECT_EQ(Generate("studio"), "");
  EXPECT_EQ(Delete("studio"), "");
  EXPECT_EQ(Generate("studio"), "TENANT_UNKNOWN");
  EXPECT_EQ(Delete("studio"), "TENANT_NOT_FOUND");
  EXPECT_EQ(Delete("local"), "TENANT_CONFIGURED");
}

TEST_F(GatewayTenantsTest, AQuotaHoldsFromTheNextCallOn) {
  ASSERT_EQ(Create("studio"), "");
  EXPECT_EQ(Generate("studio", 50), "");
  v1::UpdateTenantRequest update;
  update.mutable_tenant()->set_name("tenants/studio");
  update.mutable_tenant()->mutable_quotas()->set_steps_max(10);
  v1::Tenant tenant;
  ASSERT_EQ(Call("", *tenant_admin_, &Admin::UpdateTenant, update, tenant), "");
  EXPECT_EQ(Generate("studio", 50), "TENANT_STEPS");
  EXPECT_EQ(Generate("studio", 10), "");
  EXPECT_EQ(Generate("local", 50), "") << "others notice nothing";

  update.mutable_tenant()->clear_quotas();
  update.mutable_update_mask()->add_paths("quotas");
  update.mutable_tenant()->set_etag("stale");
  EXPECT_EQ(Call("", *tenant_admin_, &Admin::UpdateTenant, update, tenant), "ETAG_MISMATCH");
  update.mutable_tenant()->set_etag(tenant.etag());
  ASSERT_EQ(Call("", *tenant_admin_, &Admin::UpdateTenant, update, tenant), "");
  EXPECT_EQ(Generate("studio", 50), "");
}

TEST_F(GatewayTenantsTest, AModelThatIsNotForItIsNotThere) {
  engine_->SetModels({FakeEngine::Dit(), FakeEngine::Flux()});
  v1::Tenant flux_only;
  flux_only.add_models("models/flux");
  ASSERT_EQ(Create("studio", flux_only), "");
  v1::ListModelsResponse models;
  ASSERT_EQ(Call("studio", *models_, &v1::ModelService::Stub::ListModels, v1::ListModelsRequest(),
                 models),
            "");
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).name(), "models/flux");
  v1::GetModelRequest get;
  v1::Model model;
  const auto reason = [&](const std::string& tenant, const std::string& name) {
    get.set_name(name);
    return Call(tenant, *models_, &v1::ModelService::Stub::GetModel, get, model);
  };
  EXPECT_EQ(reason("studio", "models/dit"), "MODEL_NOT_FOUND");
  EXPECT_EQ(reason("local", "models/dit"), "");
  v1::CreateGenerationRequest create;
  *create.mutable_request() = Goldfish();
  create.mutable_request()->set_model("models/dit");
  v1::Generation generation;
  EXPECT_EQ(Call("studio", *generations_, &v1::GenerationService::Stub::CreateGeneration, create,
                 generation),
            "MODEL_NOT_FOUND");
}

TEST_F(GatewayTenantsTest, ListsPages) {
  for (const char* id : {"c", "a", "b"}) ASSERT_EQ(Create(id), "");
  v1::ListTenantsRequest request;
  request.set_page_size(3);
  v1::ListTenantsResponse page;
  ASSERT_EQ(Call("", *tenant_admin_, &Admin::ListTenants, request, page), "");
  ASSERT_EQ(page.tenants_size(), 3);
  EXPECT_EQ(page.tenants(0).name(), "tenants/a");
  request.set_page_token(page.next_page_token());
  ASSERT_EQ(Call("", *tenant_admin_, &Admin::ListTenants, request, page), "");
  ASSERT_EQ(page.tenants_size(), 1);
  EXPECT_EQ(page.tenants(0).name(), "tenants/local");
  EXPECT_EQ(page.next_page_token(), "");
}

// Who calls as a tenant's administrator, without a key of his own.
class AsTenantAdmin final : public Authenticator {
 public:
  absl::StatusOr<Principal> Authenticate(const Credentials&) const override {
    return Principal{.id = "test", .tenant = "studio", .roles = Roles(v1::ROLE_TENANT_ADMIN)};
  }
};

TEST_F(GatewayTenantsTest, AnAdministratorSeesItsOwnAloneAndAnotherAsAMissingOne) {
  ASSERT_EQ(Create("studio"), "");
  ASSERT_EQ(Create("rival"), "");
  gateway_->Shutdown(absl::ZeroDuration());
  const AsTenantAdmin authenticator;
  Gateway::Options options;
  options.authenticator = &authenticator;
  options.directory = &directory_;
  options.tenants = &tenants_;
  options.keys = &keys_;
  StartGateway({}, options);
  tenant_admin_ = v1::TenantAdminService::NewStub(admin_channel_);

  const auto get = [&](const std::string& name) {
    grpc::ClientContext context;
    v1::GetTenantRequest request;
    request.set_name(name);
    v1::Tenant tenant;
    return tenant_admin_->GetTenant(&context, request, &tenant);
  };
  EXPECT_TRUE(get("tenants/studio").ok());
  EXPECT_TRUE(get("tenants/-").ok());
  EXPECT_EQ(Reason(get("tenants/rival")), "TENANT_NOT_FOUND");
  EXPECT_EQ(get("tenants/rival").error_details(), get("tenants/nobody").error_details());
  v1::ListTenantsResponse page;
  ASSERT_EQ(Call("", *tenant_admin_, &Admin::ListTenants, v1::ListTenantsRequest(), page), "");
  ASSERT_EQ(page.tenants_size(), 1);
  EXPECT_EQ(page.tenants(0).name(), "tenants/studio");
  EXPECT_EQ(Create("third"), "ROLE_NOT_ALLOWED");
  EXPECT_EQ(Delete("studio"), "ROLE_NOT_ALLOWED");
  gateway_->Shutdown(absl::ZeroDuration());
}

}  // namespace
}  // namespace darkroom
