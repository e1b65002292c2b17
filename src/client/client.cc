#include "client/client.h"

#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/tenant_key.h"
#include "client/limits.h"
#include "darkroom/v1/admin.grpc.pb.h"
#include "darkroom/v1/asset.grpc.pb.h"
#include "darkroom/v1/generation.grpc.pb.h"
#include "darkroom/v1/model.grpc.pb.h"
#include "darkroom/v1/tenant.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "grpcpp/create_channel.h"

namespace darkroom {
namespace {

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const Client::Options& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = options.ca;
  ssl.pem_cert_chain = options.certificate;
  ssl.pem_private_key = options.key;
  return grpc::SslCredentials(ssl);
}

std::shared_ptr<grpc::Channel> Connect(const std::string& server, const Client::Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(client_limits::kReplyBytesMax);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, client_limits::kKeepaliveIntervalMs);
  // The API is not HTTP that a proxy could carry, and the server is usually this machine.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(server, CredentialsFor(options), arguments);
}

// The address with the port after its own: where a server has its operators' API by default.
std::string NextPort(const std::string& server) {
  const size_t colon = server.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(server.substr(colon + 1), &port)) {
    return server;
  }
  return absl::StrCat(server.substr(0, colon), ":", port + 1);
}

Client::Options WithDefaults(Client::Options options) {
  if (options.admin_server.empty()) options.admin_server = NextPort(options.server);
  return options;
}

}  // namespace

struct Canceller::State {
  mutable Mutex mutex;
  bool cancelled ABSL_GUARDED_BY(mutex) = false;
  grpc::ClientContext* running ABSL_GUARDED_BY(mutex) = nullptr;

  void Run(grpc::ClientContext* context) {
    MutexLock lock(mutex);
    running = context;
    if (cancelled && running != nullptr) running->TryCancel();
  }
};

Canceller::Canceller() : state_(std::make_shared<State>()) {}
Canceller::~Canceller() = default;

void Canceller::Cancel() {
  MutexLock lock(state_->mutex);
  state_->cancelled = true;
  if (state_->running != nullptr) state_->running->TryCancel();
}

bool Canceller::cancelled() const {
  MutexLock lock(state_->mutex);
  return state_->cancelled;
}

struct Client::Connection {
  explicit Connection(const Options& options)
      : server(options.server),
        tenant(options.tenant),
        authorization(options.credential.empty() ? "" : "Bearer " + options.credential),
        channel(Connect(options.server, options)),
        // Connects when it is first used, which most clients never do.
        admin_channel(Connect(options.admin_server, options)),
        generations(v1::GenerationService::NewStub(channel)),
        models(v1::ModelService::NewStub(channel)),
        assets(v1::AssetService::NewStub(channel)),
        admin(v1::ServerAdminService::NewStub(admin_channel)),
        tenants(v1::TenantAdminService::NewStub(admin_channel)) {}

  const std::string server;
  const std::string tenant;         // empty: none is named
  const std::string authorization;  // empty: none
  const std::shared_ptr<grpc::Channel> channel;
  const std::shared_ptr<grpc::Channel> admin_channel;
  const std::unique_ptr<v1::GenerationService::Stub> generations;
  const std::unique_ptr<v1::ModelService::Stub> models;
  const std::unique_ptr<v1::AssetService::Stub> assets;
  const std::unique_ptr<v1::ServerAdminService::Stub> admin;
  const std::unique_ptr<v1::TenantAdminService::Stub> tenants;

  void Name(grpc::ClientContext& context) const {
    if (!tenant.empty()) context.AddMetadata(kTenantKey, tenant);
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  }

  absl::Status FromGrpc(const grpc::Status& status) const {
    if (status.ok()) return absl::OkStatus();
    google::rpc::Status proto;
    if (!status.error_details().empty() && proto.ParseFromString(status.error_details())) {
      return FromProto(proto);
    }
    // Not from the server but about it.
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
      return Error(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE",
                   absl::StrCat("no Darkroom server answers at ", server));
    }
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Unary(
      Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
      const Request& request, int seconds = client_limits::kUnaryDeadlineSeconds) const {
    grpc::ClientContext context;
    Name(context);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) return FromGrpc(status);
    return response;
  }

  absl::Status ReadAll(grpc::ClientContext& context,
                       std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> reader,
                       OnEvent on_event) const {
    v1::GenerateEvent event;
    absl::Status refused;
    while (refused.ok() && reader->Read(&event)) refused = on_event(event);
    if (!refused.ok()) context.TryCancel();
    const grpc::Status status = reader->Finish();
    return refused.ok() ? FromGrpc(status) : refused;
  }
};

Client::Client(Options options)
    : options_(WithDefaults(std::move(options))),
      tenant_(!options_.tenant.empty()      ? options_.tenant
              : options_.credential.empty() ? kLocalTenant
                                            : kOwnTenant),
      connection_(std::make_unique<Connection>(options_)) {}

Client::~Client() = default;

absl::StatusOr<v1::Generation> Client::CreateGeneration(const v1::GenerateRequest& request) {
  v1::CreateGenerationRequest create;
  *create.mutable_request() = request;
  return connection_->Unary<v1::Generation>(*connection_->generations,
                                            &v1::GenerationService::Stub::CreateGeneration, create);
}

absl::StatusOr<v1::EstimateGenerationResponse> Client::EstimateGeneration(
    const v1::GenerateRequest& request) {
  v1::EstimateGenerationRequest estimate;
  *estimate.mutable_request() = request;
  return connection_->Unary<v1::EstimateGenerationResponse>(
      *connection_->generations, &v1::GenerationService::Stub::EstimateGeneration, estimate);
}

absl::StatusOr<v1::Generation> Client::GetGeneration(const std::string& name,
                                                     bool include_outputs) {
  v1::GetGenerationRequest request;
  request.set_name(name);
  request.set_include_outputs(include_outputs);
  return connection_->Unary<v1::Generation>(*connection_->generations,
                                            &v1::GenerationService::Stub::GetGeneration, request);
}

absl::StatusOr<v1::ListGenerationsResponse> Client::ListGenerations(
    const v1::ListGenerationsRequest& request) {
  return connection_->Unary<v1::ListGenerationsResponse>(
      *connection_->generations, &v1::GenerationService::Stub::ListGenerations, request);
}

absl::StatusOr<v1::Generation> Client::CancelGeneration(const std::string& name) {
  v1::CancelGenerationRequest request;
  request.set_name(name);
  return connection_->Unary<v1::Generation>(
      *connection_->generations, &v1::GenerationService::Stub::CancelGeneration, request);
}

absl::Status Client::DeleteGeneration(const std::string& name) {
  v1::DeleteGenerationRequest request;
  request.set_name(name);
  return connection_
      ->Unary<google::protobuf::Empty>(*connection_->generations,
                                       &v1::GenerationService::Stub::DeleteGeneration, request)
      .status();
}

absl::StatusOr<v1::Asset> Client::UploadAsset(const std::string& bytes) {
  grpc::ClientContext context;
  connection_->Name(context);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(client_limits::kTransferDeadlineSeconds));
  v1::Asset asset;
  const auto writer = connection_->assets->UploadAsset(&context, &asset);
  v1::UploadAssetRequest message;
  message.mutable_metadata()->set_size_bytes(static_cast<int64_t>(bytes.size()));
  message.mutable_metadata()->set_sha256(Sha256Hex(bytes));
  bool open = writer->Write(message);
  for (size_t at = 0; open && at < bytes.size(); at += client_limits::kUploadPieceBytes) {
    message.set_data(bytes.substr(at, client_limits::kUploadPieceBytes));
    open = writer->Write(message);
  }
  // A server that has seen enough says why in the status.
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (!status.ok()) return connection_->FromGrpc(status);
  return asset;
}

absl::StatusOr<std::string> Client::DownloadAsset(const std::string& name) {
  grpc::ClientContext context;
  connection_->Name(context);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(client_limits::kTransferDeadlineSeconds));
  v1::DownloadAssetRequest request;
  request.set_name(name);
  const auto reader = connection_->assets->DownloadAsset(&context, request);
  std::string bytes;
  v1::DownloadAssetResponse piece;
  while (reader->Read(&piece)) {
    bytes += piece.data();
    if (bytes.size() > client_limits::kDownloadBytesMax) context.TryCancel();
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return connection_->FromGrpc(status);
  return bytes;
}

absl::StatusOr<v1::Asset> Client::GetAsset(const std::string& name) {
  v1::GetAssetRequest request;
  request.set_name(name);
  return connection_->Unary<v1::Asset>(*connection_->assets, &v1::AssetService::Stub::GetAsset,
                                       request);
}

absl::StatusOr<v1::ListAssetsResponse> Client::ListAssets(const v1::ListAssetsRequest& request) {
  return connection_->Unary<v1::ListAssetsResponse>(*connection_->assets,
                                                    &v1::AssetService::Stub::ListAssets, request);
}

absl::Status Client::DeleteAsset(const std::string& name) {
  v1::DeleteAssetRequest request;
  request.set_name(name);
  return connection_
      ->Unary<google::protobuf::Empty>(*connection_->assets, &v1::AssetService::Stub::DeleteAsset,
                                       request)
      .status();
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels() {
  std::vector<v1::Model> models;
  v1::ListModelsRequest request;
  for (int page = 0; page < client_limits::kModelPagesMax; ++page) {
    auto response = connection_->Unary<v1::ListModelsResponse>(
        *connection_->models, &v1::ModelService::Stub::ListModels, request);
    if (!response.ok()) return response.status();
    for (v1::Model& model : *response->mutable_models()) models.push_back(std::move(model));
    if (response->next_page_token().empty()) break;
    request.set_page_token(response->next_page_token());
  }
  return models;
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name) {
  v1::GetModelRequest request;
  request.set_name(name);
  return connection_->Unary<v1::Model>(*connection_->models, &v1::ModelService::Stub::GetModel,
                                       request);
}

absl::StatusOr<v1::ServerInfo> Client::GetServerInfo() {
  return connection_->Unary<v1::ServerInfo>(*connection_->admin,
                                            &v1::ServerAdminService::Stub::GetServerInfo,
                                            v1::GetServerInfoRequest());
}

absl::StatusOr<v1::GetStatusResponse> Client::GetStatus() {
  return connection_->Unary<v1::GetStatusResponse>(
      *connection_->admin, &v1::ServerAdminService::Stub::GetStatus, v1::GetStatusRequest());
}

absl::StatusOr<v1::Tenant> Client::CreateTenant(const v1::CreateTenantRequest& request) {
  return connection_->Unary<v1::Tenant>(*connection_->tenants,
                                        &v1::TenantAdminService::Stub::CreateTenant, request);
}

absl::StatusOr<v1::Tenant> Client::GetTenant(const std::string& name) {
  v1::GetTenantRequest request;
  request.set_name(name);
  return connection_->Unary<v1::Tenant>(*connection_->tenants,
                                        &v1::TenantAdminService::Stub::GetTenant, request);
}

absl::StatusOr<std::vector<v1::Tenant>> Client::ListTenants() {
  std::vector<v1::Tenant> tenants;
  v1::ListTenantsRequest request;
  request.set_page_size(client_limits::kTenantsPerPage);
  for (int page = 0; page < client_limits::kTenantPagesMax; ++page) {
    auto response = connection_->Unary<v1::ListTenantsResponse>(
        *connection_->tenants, &v1::TenantAdminService::Stub::ListTenants, request);
    if (!response.ok()) return response.status();
    for (v1::Tenant& tenant : *response->mutable_tenants()) tenants.push_back(std::move(tenant));
    if (response->next_page_token().empty()) break;
    request.set_page_token(response->next_page_token());
  }
  return tenants;
}

absl::StatusOr<v1::Tenant> Client::UpdateTenant(const v1::UpdateTenantRequest& request) {
  return connection_->Unary<v1::Tenant>(*connection_->tenants,
                                        &v1::TenantAdminService::Stub::UpdateTenant, request);
}

absl::Status Client::DeleteTenant(const v1::DeleteTenantRequest& request) {
  return connection_
      ->Unary<google::protobuf::Empty>(*connection_->tenants,
                                       &v1::TenantAdminService::Stub::DeleteTenant, request,
                                       client_limits::kTransferDeadlineSeconds)
      .status();
}

absl::StatusOr<v1::CreateApiKeyResponse> Client::CreateApiKey(const v1::ApiKey& key) {
  v1::CreateApiKeyRequest request;
  *request.mutable_key() = key;
  return connection_->Unary<v1::CreateApiKeyResponse>(
      *connection_->tenants, &v1::TenantAdminService::Stub::CreateApiKey, request);
}

absl::StatusOr<std::vector<v1::ApiKey>> Client::ListApiKeys(const std::string& tenant) {
  std::vector<v1::ApiKey> keys;
  v1::ListApiKeysRequest request;
  request.set_tenant(tenant);
  request.set_page_size(client_limits::kKeysPerPage);
  for (int page = 0; page < client_limits::kKeyPagesMax; ++page) {
    auto response = connection_->Unary<v1::ListApiKeysResponse>(
        *connection_->tenants, &v1::TenantAdminService::Stub::ListApiKeys, request);
    if (!response.ok()) return response.status();
    for (v1::ApiKey& key : *response->mutable_keys()) keys.push_back(std::move(key));
    if (response->next_page_token().empty()) break;
    request.set_page_token(response->next_page_token());
  }
  return keys;
}

absl::StatusOr<v1::RotateApiKeyResponse> Client::RotateApiKey(
    const v1::RotateApiKeyRequest& request) {
  return connection_->Unary<v1::RotateApiKeyResponse>(
      *connection_->tenants, &v1::TenantAdminService::Stub::RotateApiKey, request);
}

absl::StatusOr<v1::ApiKey> Client::RevokeApiKey(const std::string& name) {
  v1::RevokeApiKeyRequest request;
  request.set_name(name);
  return connection_->Unary<v1::ApiKey>(*connection_->tenants,
                                        &v1::TenantAdminService::Stub::RevokeApiKey, request);
}

namespace {

// Lets `canceller`, if any, reach `context` while both live.
class Cancellable {
 public:
  template <typename State>
  Cancellable(std::shared_ptr<State> state, grpc::ClientContext& context) {
    if (state == nullptr) return;
    state->Run(&context);
    release_ = [state] { state->Run(nullptr); };
  }
  ~Cancellable() {
    if (release_) release_();
  }
  Cancellable(const Cancellable&) = delete;
  Cancellable& operator=(const Cancellable&) = delete;

 private:
  std::function<void()> release_;
};

}  // namespace

absl::Status Client::Generate(const v1::GenerateRequest& request, OnEvent on_event,
                              Canceller* canceller) {
  grpc::ClientContext context;
  connection_->Name(context);
  const Cancellable cancellable(canceller == nullptr ? nullptr : canceller->state_, context);
  return connection_->ReadAll(context, connection_->generations->Generate(&context, request),
                              on_event);
}

absl::Status Client::WatchGeneration(const std::string& name, int64_t after_sequence,
                                     OnEvent on_event, Canceller* canceller) {
  v1::WatchGenerationRequest request;
  request.set_name(name);
  request.set_after_sequence(after_sequence);
  grpc::ClientContext context;
  connection_->Name(context);
  const Cancellable cancellable(canceller == nullptr ? nullptr : canceller->state_, context);
  return connection_->ReadAll(context, connection_->generations->WatchGeneration(&context, request),
                              on_event);
}

absl::Duration RetryDelay(const absl::Status& status) {
  const google::rpc::Status proto = ToProto(status);
  google::rpc::RetryInfo retry;
  for (const auto& detail : proto.details()) {
    if (detail.UnpackTo(&retry)) {
      return absl::Seconds(retry.retry_delay().seconds()) +
             absl::Nanoseconds(retry.retry_delay().nanos());
    }
  }
  return absl::ZeroDuration();
}

}  // namespace darkroom
