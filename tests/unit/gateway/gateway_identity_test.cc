// Who may call what, over real connections: keys, roles, tenants, TLS.

#include <cstdio>
#include <fstream>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "darkroom/v1/tenant.grpc.pb.h"
#include "gmock/gmock.h"
#include "store/store_thread.h"
#include "tenancy/authenticators.h"
#include "tenancy/local_keys.h"
#include "tenancy/local_tenants.h"
#include "testing/memory_store.h"
#include "testing/temp_folder.h"
#include "testing/test_certificates.h"
#include "unit/gateway/gateway_fixture.h"

namespace darkroom {
namespace {

using ::darkroom::testing::GatewayFixture;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::TempFolder;
using ::darkroom::testing::TestAuthority;

constexpr char kStudioUri[] = "spiffe://example.org/studio";

class GatewayIdentityTest : public GatewayFixture {
 protected:
  void Start(TlsFiles tls = {}) {
    CredentialAuthenticator::Options options;
    options.tenants = &directory_;
    options.keys = &ring_;
    options.certificates = {{kStudioUri, "studio", v1::ROLE_TENANT_USER}};
    authenticator_ = std::make_unique<CredentialAuthenticator>(std::move(options), clock_);
    Gateway::Options gateway;
    gateway.directory = &directory_;
    gateway.tenants = &tenants_;
    gateway.authenticator = authenticator_.get();
    gateway.keys = &keys_;
    gateway.tls = std::move(tls);
    StartGateway({}, gateway);
    tenant_admin_ = v1::TenantAdminService::NewStub(admin_channel_);
  }
  void TearDown() override {
    if (gateway_ != nullptr) gateway_->Shutdown(absl::ZeroDuration());
  }

  // A key's text, made as the server itself makes one.
  std::string MakeKey(v1::Role role, const std::string& tenant, std::string* name = nullptr) {
    v1::ApiKey key;
    key.set_role(role);
    if (!tenant.empty()) key.set_tenant("tenants/" + tenant);
    std::promise<Keys::NewText> made;
    keys_.CreateKey(key, [&](absl::StatusOr<Keys::NewText> text) { made.set_value(*text); });
    Keys::NewText text = made.get_future().get();
    if (name != nullptr) *name = text.key.name();
    return text.text;
  }

  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(const std::string& key, Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    return (stub.*method)(&context, request, &response);
  }

  grpc::Status CreateGeneration(const std::string& key, v1::Generation* generation = nullptr) {
    v1::CreateGenerationRequest request;
    *request.mutable_request() = Goldfish();
    v1::Generation made;
    const grpc::Status status =
        Call(key, *generations_, &v1::GenerationService::Stub::CreateGeneration, request, made);
    if (generation != nullptr) *generation = made;
    return status;
  }
  grpc::Status GetGeneration(const std::string& key, const std::string& name) {
    v1::GetGenerationRequest request;
    request.set_name(name);
    v1::Generation generation;
    return Call(key, *generations_, &v1::GenerationService::Stub::GetGeneration, request,
                generation);
  }
  grpc::Status GetInfo(const std::string& key) {
    v1::ServerInfo info;
    return Call(key, *admin_, &v1::ServerAdminService::Stub::GetServerInfo,
                v1::GetServerInfoRequest(), info);
  }
  grpc::Status CreateKey(const std::string& key, v1::Role role, const std::string& tenant,
                         v1::CreateApiKeyResponse& response) {
    v1::CreateApiKeyRequest request;
    request.mutable_key()->set_role(role);
    request.mutable_key()->set_tenant(tenant);
    return Call(key, *tenant_admin_, &v1::TenantAdminService::Stub::CreateApiKey, request,
                response);
  }
  grpc::Status GetKey(const std::string& key, const std::string& name) {
    v1::GetApiKeyRequest request;
    request.set_name(name);
    v1::ApiKey response;
    return Call(key, *tenant_admin_, &v1::TenantAdminService::Stub::GetApiKey, request, response);
  }
  grpc::Status Revoke(const std::string& key, const std::string& name) {
    v1::RevokeApiKeyRequest request;
    request.set_name(name);
    v1::ApiKey response;
    return Call(key, *tenant_admin_, &v1::TenantAdminService::Stub::RevokeApiKey, request,
                response);
  }

  TenantDirectory directory_{{"studio", "rival", "local"}};
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
  std::unique_ptr<CredentialAuthenticator> authenticator_;
  std::unique_ptr<v1::TenantAdminService::Stub> tenant_admin_;
};

TEST_F(GatewayIdentityTest, NobodyCallsWithoutAKey) {
  Start();
  EXPECT_EQ(Reason(CreateGeneration("")), "CREDENTIALS_MISSING");
  EXPECT_EQ(Reason(GetInfo("")), "CREDENTIALS_MISSING");
  EXPECT_EQ(CreateGeneration("drk_nonsense").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(CreateGeneration(MakeKey(v1::ROLE_TENANT_USER, "studio")).ok());
}

TEST_F(GatewayIdentityTest, TheTenantIsTheKeysAndForeignIsMissing) {
  Start();
  const std::string studio = MakeKey(v1::ROLE_TENANT_USER, "studio");
  const std::string rival = MakeKey(v1::ROLE_TENANT_USER, "rival");
  v1::Generation generation;
  ASSERT_TRUE(CreateGeneration(studio, &generation).ok());
  EXPECT_EQ(generation.name().find("tenants/studio/"), 0u);
  EXPECT_TRUE(GetGeneration(studio, generation.name()).ok());
  // "-" is whoever calls.
  const std::string id = generation.name().substr(generation.name().rfind('/') + 1);
  EXPECT_TRUE(GetGeneration(studio, "tenants/-/generations/" + id).ok());
  const grpc::Status missing = GetGeneration(rival, "tenants/rival/generations/none");
  for (const std::string& name :
       {generation.name(), "tenants/-/generations/" + id, "tenants/rival/generations/" + id}) {
    const grpc::Status foreign = GetGeneration(rival, name);
    EXPECT_EQ(foreign.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(foreign.error_details(), missing.error_details());
  }
}

TEST_F(GatewayIdentityTest, EveryRoleHasItsOwnServices) {
  Start();
  const std::string user = MakeKey(v1::ROLE_TENANT_USER, "studio");
  const std::string ops = MakeKey(v1::ROLE_OPERATOR, "");
  const std::string auditor = MakeKey(v1::ROLE_AUDITOR, "");
  EXPECT_EQ(Reason(GetInfo(user)), "ROLE_NOT_ALLOWED");
  EXPECT_TRUE(GetInfo(ops).ok());
  EXPECT_TRUE(GetInfo(auditor).ok());
  EXPECT_EQ(Reason(CreateGeneration(ops)), "ROLE_NOT_ALLOWED");
  EXPECT_EQ(Reason(CreateGeneration(auditor)), "ROLE_NOT_ALLOWED");
  v1::CreateApiKeyResponse made;
  EXPECT_EQ(Reason(CreateKey(user, v1::ROLE_TENANT_USER, "", made)), "ROLE_NOT_ALLOWED");
  EXPECT_EQ(Reason(CreateKey(auditor, v1::ROLE_AUDITOR, "", made)), "ROLE_NOT_ALLOWED");
}

TEST_F(GatewayIdentityTest, OperatorsServicesAreOnTheirOwnListener) {
  Start();
  const std::string ops = MakeKey(v1::ROLE_OPERATOR, "");
  v1::ServerInfo info;
  const auto admin_on_public = v1::ServerAdminService::NewStub(channel_);
  EXPECT_EQ(Call(ops, *admin_on_public, &v1::ServerAdminService::Stub::GetServerInfo,
                 v1::GetServerInfoRequest(), info)
                .error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(GatewayIdentityTest, AnOperatorMakesKeysForEveryone) {
  Start();
  const std::string ops = MakeKey(v1::ROLE_OPERATOR, "");
  v1::CreateApiKeyResponse made;
  ASSERT_TRUE(CreateKey(ops, v1::ROLE_TENANT_ADMIN, "tenants/studio", made).ok());
  EXPECT_TRUE(CreateGeneration(made.text()).ok());
  ASSERT_TRUE(CreateKey(ops, v1::ROLE_OPERATOR, "", made).ok());
  EXPECT_TRUE(GetInfo(made.text()).ok());
  EXPECT_EQ(Reason(CreateKey(ops, v1::ROLE_TENANT_USER, "tenants/unknown", made)),
            "TENANT_UNKNOWN");
  EXPECT_EQ(Reason(CreateKey(ops, v1::ROLE_TENANT_USER, "", made)), "TENANT_UNKNOWN");
  EXPECT_EQ(Reason(CreateKey(ops, v1::ROLE_AUDITOR, "tenants/studio", made)), "TENANT_NOT_ALLOWED");
  EXPECT_EQ(Reason(CreateKey(ops, static_cast<v1::Role>(77), "", made)), "ROLE_UNKNOWN");
}

TEST_F(GatewayIdentityTest, ATenantsAdministratorManagesItsOwnKeysAlone) {
  Start();
  const std::string admin = MakeKey(v1::ROLE_TENANT_ADMIN, "studio");
  std::string foreign;
  std::string operators;
  MakeKey(v1::ROLE_TENANT_USER, "rival", &foreign);
  MakeKey(v1::ROLE_OPERATOR, "", &operators);
  v1::CreateApiKeyResponse made;
  ASSERT_TRUE(CreateKey(admin, v1::ROLE_TENANT_USER, "", made).ok());
  EXPECT_EQ(made.key().tenant(), "tenants/studio");
  EXPECT_TRUE(CreateGeneration(made.text()).ok());
  EXPECT_EQ(Reason(CreateKey(admin, v1::ROLE_TENANT_USER, "tenants/rival", made)),
            "TENANT_NOT_FOUND");
  EXPECT_EQ(Reason(CreateKey(admin, v1::ROLE_OPERATOR, "", made)), "ROLE_NOT_ALLOWED");

  const grpc::Status missing = GetKey(admin, "keys/0123456789abcdef");
  EXPECT_EQ(Reason(missing), "KEY_NOT_FOUND");
  for (const std::string& name : {foreign, operators}) {
    EXPECT_EQ(GetKey(admin, name).error_details(), missing.error_details());
    EXPECT_EQ(Revoke(admin, name).error_details(), missing.error_details());
  }
  v1::ListApiKeysResponse listed;
  ASSERT_TRUE(Call(admin, *tenant_admin_, &v1::TenantAdminService::Stub::ListApiKeys,
                   v1::ListApiKeysRequest(), listed)
                  .ok());
  EXPECT_EQ(listed.keys_size(), 2);
  for (const auto& key : listed.keys()) EXPECT_EQ(key.tenant(), "tenants/studio");
}

TEST_F(GatewayIdentityTest, ListsPageByPage) {
  Start();
  const std::string ops = MakeKey(v1::ROLE_OPERATOR, "");
  for (int i = 0; i < 4; ++i) MakeKey(v1::ROLE_TENANT_USER, "studio");
  v1::ListApiKeysRequest request;
  request.set_page_size(2);
  std::set<std::string> names;
  int pages = 0;
  do {
    v1::ListApiKeysResponse page;
    ASSERT_TRUE(
        Call(ops, *tenant_admin_, &v1::TenantAdminService::Stub::ListApiKeys, request, page).ok());
    for (const auto& key : page.keys()) names.insert(key.name());
    request.set_page_token(page.next_page_token());
  } while (++pages < 10 && !request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(names.size(), 5u);
  request.set_page_token("keys/../etc");
  v1::ListApiKeysResponse page;
  EXPECT_EQ(
      Reason(Call(ops, *tenant_admin_, &v1::TenantAdminService::Stub::ListApiKeys, request, page)),
      "PAGE_TOKEN_INVALID");
}

TEST_F(GatewayIdentityTest, ARevokedKeyOpensNothingFromTheNextCallOn) {
  Start();
  const std::string ops = MakeKey(v1::ROLE_OPERATOR, "");
  std::string name;
  const std::string user = MakeKey(v1::ROLE_TENANT_USER, "studio", &name);
  ASSERT_TRUE(CreateGeneration(user).ok());
  ASSERT_TRUE(Revoke(ops, name).ok());
  EXPECT_EQ(Reason(CreateGeneration(user)), "CREDENTIALS_INVALID");
}

TEST_F(GatewayIdentityTest, BadRequestsAboutKeysSayWhatIsWrong) {
  Start();
  const std::string ops = MakeKey(v1::ROLE_OPERATOR, "");
  EXPECT_EQ(Reason(GetKey(ops, "keys/")), "RESOURCE_NAME_INVALID");
  EXPECT_EQ(Reason(GetKey(ops, "keys/0123456789ABCDEF")), "RESOURCE_NAME_INVALID");
  v1::CreateApiKeyRequest create;
  create.mutable_key()->set_tenant("tenants/studio");
  create.mutable_key()->set_title(std::string(257, 'x'));
  create.mutable_key()->mutable_expire_time()->set_seconds(5);
  v1::CreateApiKeyResponse made;
  EXPECT_EQ(
      Reason(Call(ops, *tenant_admin_, &v1::TenantAdminService::Stub::CreateApiKey, create, made)),
      "FIELDS_INVALID");
  std::string name;
  MakeKey(v1::ROLE_TENANT_USER, "studio", &name);
  for (const int64_t seconds : {int64_t{-1}, int64_t{31} * 24 * 3600, INT64_MAX}) {
    v1::RotateApiKeyRequest rotate;
    rotate.set_name(name);
    rotate.mutable_overlap()->set_seconds(seconds);
    v1::RotateApiKeyResponse rotated;
    EXPECT_EQ(Reason(Call(ops, *tenant_admin_, &v1::TenantAdminService::Stub::RotateApiKey, rotate,
                          rotated)),
              "OVERLAP_OUT_OF_RANGE");
  }
}

class GatewayTlsTest : public GatewayIdentityTest {
 protected:
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.path() + "/" + name + ".new") << text;
    std::rename((folder_.path() + "/" + name + ".new").c_str(),
                (folder_.path() + "/" + name).c_str());
  }
  void WriteServer(const TestAuthority& authority) {
    const auto issued = authority.Issue("IP:127.0.0.1");
    Write("key.pem", issued.key);
    Write("cert.pem", issued.certificate);
  }
  TlsFiles Files(const std::string& ca = "") {
    return {folder_.path() + "/cert.pem", folder_.path() + "/key.pem",
            ca.empty() ? "" : folder_.path() + "/" + ca};
  }
  grpc::Status CreateOver(const grpc::SslCredentialsOptions& ssl, const std::string& key) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = v1::GenerationService::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("127.0.0.1:", gateway_->port()), grpc::SslCredentials(ssl), arguments));
    grpc::ClientContext context;
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    v1::CreateGenerationRequest request;
    *request.mutable_request() = Goldfish();
    v1::Generation generation;
    return stub->CreateGeneration(&context, request, &generation);
  }

  const TempFolder folder_;
  const TestAuthority authority_;
};

TEST_F(GatewayTlsTest, ServesWhoTrustsItsCertificateAndFollowsItsFiles) {
  WriteServer(authority_);
  Start(Files());
  const std::string key = MakeKey(v1::ROLE_TENANT_USER, "studio");
  EXPECT_TRUE(CreateOver({.pem_root_certs = authority_.certificate()}, key).ok());
  const TestAuthority next;
  EXPECT_EQ(CreateOver({.pem_root_certs = next.certificate()}, key).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(CreateGeneration(key).ok()) << "plain text on a port with TLS";
  WriteServer(next);
  EXPECT_TRUE(
      Eventually([&] { return CreateOver({.pem_root_certs = next.certificate()}, key).ok(); }));
}

TEST_F(GatewayTlsTest, AClientsCertificateSaysWhoItIs) {
  WriteServer(authority_);
  const TestAuthority clients;
  Write("clients.pem", clients.certificate());
  Start(Files("clients.pem"));
  const auto with = [&](const TestAuthority& authority, const std::string& names) {
    const auto issued = authority.Issue(names);
    return CreateOver({.pem_root_certs = authority_.certificate(),
                       .pem_private_key = issued.key,
                       .pem_cert_chain = issued.certificate},
                      "");
  };
  EXPECT_TRUE(with(clients, std::string("URI:") + kStudioUri).ok());
  EXPECT_EQ(Reason(with(clients, "URI:spiffe://example.org/nobody")), "CREDENTIALS_INVALID");
  EXPECT_EQ(Reason(with(clients, "DNS:studio")), "CREDENTIALS_MISSING");
  // Whom nobody knows does not get as far as a status.
  EXPECT_EQ(with(TestAuthority(), std::string("URI:") + kStudioUri).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  // Without a certificate a key still counts.
  EXPECT_EQ(Reason(CreateOver({.pem_root_certs = authority_.certificate()}, "")),
            "CREDENTIALS_MISSING");
  EXPECT_TRUE(CreateOver({.pem_root_certs = authority_.certificate()},
                         MakeKey(v1::ROLE_TENANT_USER, "studio"))
                  .ok());
}

TEST_F(GatewayTlsTest, BadFilesAreRefusedAtTheStart) {
  const auto start = [&](TlsFiles files) {
    Gateway::Options options;
    options.address = "127.0.0.1:0";
    options.tls = std::move(files);
    engine_ = std::make_unique<testing::FakeEngine>(testing::FakeEngine::Options());
    return ErrorReason(Gateway::Start(options, *engine_, clock_).status());
  };
  EXPECT_EQ(start(Files()), "TLS_FILES_INVALID");
  WriteServer(authority_);
  EXPECT_EQ(start(Files()), "");
  Write("key.pem", authority_.Issue("IP:127.0.0.1").key);
  EXPECT_EQ(start(Files()), "TLS_FILES_INVALID") << "another certificate's key";
  Write("key.pem", "not a key");
  EXPECT_EQ(start(Files()), "TLS_FILES_INVALID");
  WriteServer(authority_);
  EXPECT_EQ(start(Files("missing.pem")), "TLS_FILES_INVALID");
}

TEST_F(GatewayTlsTest, OthersAreServedOnlyWithBothTlsAndKeys) {
  WriteServer(authority_);
  const auto start = [&](bool tls, bool keys) {
    Gateway::Options options;
    options.address = "0.0.0.0:0";
    options.directory = &directory_;
    const LoopbackAuthenticator authenticator(directory_);
    if (keys) options.authenticator = &authenticator;
    if (tls) options.tls = Files();
    engine_ = std::make_unique<testing::FakeEngine>(testing::FakeEngine::Options());
    return ErrorReason(Gateway::Start(options, *engine_, clock_).status());
  };
  EXPECT_EQ(start(false, false), "LISTEN_NOT_LOOPBACK");
  EXPECT_EQ(start(true, false), "LISTEN_NOT_LOOPBACK");
  EXPECT_EQ(start(false, true), "LISTEN_NOT_LOOPBACK");
  EXPECT_EQ(start(true, true), "");
}

}  // namespace
}  // namespace darkroom
