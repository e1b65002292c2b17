#include "gateway/gateway.h"

#include <sys/random.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/logging.h"
#include "base/tenant_key.h"
#include "gateway/api.h"
#include "gateway/asset_services.h"
#include "gateway/call_gate.h"
#include "gateway/grpc_services.h"
#include "gateway/listen_address.h"
#include "gateway/tenant_admin_service.h"
#include "google/protobuf/stubs/logging.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "tenancy/authenticators.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

constexpr char kGenerationService[] = "darkroom.v1.GenerationService";

uint64_t SystemRandom() {
  uint64_t bits = 0;
  // Up to 256 bytes come whole once the kernel's pool is up, which is long before any daemon.
  while (getrandom(&bits, sizeof(bits), 0) != static_cast<ssize_t>(sizeof(bits))) {
  }
  return bits;
}

// Clients are told what was wrong with their bytes; the daemon's log is not theirs to fill.
void DropProtobufComplaints(google::protobuf::LogLevel, const char*, int, const std::string&) {}

void ApplyLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(limits::kMessageBytesMax);
  builder.SetMaxSendMessageSize(limits::kReplyBytesMax);
  builder.SetResourceQuota(
      grpc::ResourceQuota("gateway").Resize(static_cast<size_t>(limits::kTransportBytesMax)));
  // Decompressing happens before any check of size: a gzip message of 4 MiB holds up to 4 GiB.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, limits::kMetadataBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits::kStreamsPerConnectionMax);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             limits::kPingIntervalMsMin);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, limits::kPingStrikesMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, limits::kKeepaliveIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, limits::kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Otherwise a second daemon on the same port would silently take half of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

absl::Status CheckOptions(const Gateway::Options& options) {
  if (options.calls_max >= 1 && options.calls_max <= limits::kCallsMaxMax) return absl::OkStatus();
  const std::string rule = absl::StrCat("must be 1 to ", limits::kCallsMaxMax);
  return Error(absl::StatusCode::kInvalidArgument, "CALLS_MAX_OUT_OF_RANGE",
               absl::StrCat("limits.calls_max is ", options.calls_max, "; ", rule))
      .Field("limits.calls_max", rule);
}

}  // namespace

// Members in order of dependency: the gRPC servers go first.
struct Gateway::Server {
  Server(Engine& engine, Clock& clock, const Options& options)
      : local({kLocalTenant}),
        directory(options.directory == nullptr ? local : *options.directory),
        loopback(directory),
        gate(options.calls_max,
             options.authenticator == nullptr ? loopback : *options.authenticator),
        api(engine, clock,
            {options.random ? options.random : SystemRandom, options.pictures, &directory}),
        asset_api(options.pictures.assets, options.upload_bytes_max),
        services(MakeGrpcServices(api, gate)) {
    services.push_back(MakeAssetService(asset_api, gate));
    admin_services.push_back(MakeServerAdminService(api, gate));
    if (options.keys == nullptr || options.tenants == nullptr) return;
    key_api.emplace(*options.keys, directory, clock);
    tenant_api.emplace(*options.tenants);
    admin_services.push_back(MakeTenantAdminService(*tenant_api, *key_api, gate));
  }

  const TenantDirectory local;
  const TenantDirectory& directory;
  LoopbackAuthenticator loopback;
  CallGate gate;
  Api api;
  AssetApi asset_api;
  std::optional<KeyApi> key_api;
  std::optional<TenantApi> tenant_api;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::vector<std::unique_ptr<grpc::Service>> admin_services;
  int port = 0;
  int admin_port = 0;
  std::unique_ptr<grpc::Server> grpc;
  std::unique_ptr<grpc::Server> admin;  // null: none
};

namespace {

// Listens on one address, whose configuration field is `field`.
absl::StatusOr<std::unique_ptr<grpc::Server>> Listen(
    const Gateway::Options& options, const std::string& given, std::string_view field,
    const std::vector<std::unique_ptr<grpc::Service>>& services, int& port) {
  const bool is_guarded = !options.tls.certificate.empty() && options.authenticator != nullptr;
  const auto address =
      CheckedListenAddress(given, is_guarded ? Reach::kAnyone : Reach::kLoopback, field);
  if (!address.ok()) return address.status();
  auto credentials = ListenerCredentials(options.tls);
  if (!credentials.ok()) return credentials.status();
  grpc::ServerBuilder builder;
  ApplyLimits(builder);
  builder.AddListeningPort(*address, *credentials, &port);
  for (const auto& service : services) builder.RegisterService(service.get());
  auto server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::Status(Error(absl::StatusCode::kUnavailable, "LISTEN_FAILED",
                              absl::StrCat("cannot listen on ", *address,
                                           ": the port is taken or not allowed; choose another "
                                           "with ",
                                           std::string(field), ", or port 0 for any free one")));
  }
  return server;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(const Options& options, Engine& engine,
                                                        Clock& clock) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  google::protobuf::SetLogHandler(&DropProtobufComplaints);
  grpc::EnableDefaultHealthCheckService(true);

  auto server = std::make_unique<Server>(engine, clock, options);
  auto grpc = Listen(options, options.address, "listen.grpc", server->services, server->port);
  if (!grpc.ok()) return grpc.status();
  server->grpc = *std::move(grpc);
  if (!options.admin_address.empty()) {
    auto admin = Listen(options, options.admin_address, "listen.admin", server->admin_services,
                        server->admin_port);
    if (!admin.ok()) {
      server->grpc->Shutdown(absl::ToChronoTime(absl::Now()));
      return admin.status();
    }
    server->admin = *std::move(admin);
  }
  auto gateway = std::unique_ptr<Gateway>(new Gateway(std::move(server)));
  gateway->SetServing(true);
  return gateway;
}

Gateway::Gateway(std::unique_ptr<Server> server) : server_(std::move(server)) {}

Gateway::~Gateway() { Shutdown(absl::ZeroDuration()); }

int Gateway::port() const { return server_->port; }
int Gateway::admin_port() const { return server_->admin_port; }

int64_t Gateway::open_calls() const { return server_->gate.open_calls(); }

void Gateway::SetServing(bool serving) {
  auto* health = server_->grpc->GetHealthCheckService();
  health->SetServingStatus(kGenerationService, serving);
  health->SetServingStatus("", serving);
}

void Gateway::Drain() {
  // Final: nothing sets a service to SERVING again.
  server_->grpc->GetHealthCheckService()->Shutdown();
}

void Gateway::Shutdown(absl::Duration grace) {
  if (server_->grpc == nullptr) return;
  Drain();
  const auto end = absl::ToChronoTime(absl::Now() + grace);
  server_->grpc->Shutdown(end);
  if (server_->admin != nullptr) server_->admin->Shutdown(end);
  // gRPC has cancelled what was left; each call still ends by itself, some once the engine answers.
  server_->gate.AwaitNoneOpen();
  server_->admin.reset();
  server_->grpc.reset();
}

}  // namespace darkroom
