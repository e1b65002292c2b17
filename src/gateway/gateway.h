#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "darkroom/engine.h"
#include "darkroom/keys.h"
#include "darkroom/principal.h"
#include "darkroom/tenants.h"
#include "gateway/input_gatherer.h"
#include "gateway/limits.h"
#include "gateway/tls.h"
#include "tenancy/tenant_directory.h"

namespace darkroom {

// The gRPC listeners: generations, assets, models and health for clients on one address, the server
// itself and its keys for operators on another. Its methods may be called on any thread, one at a
// time.
class Gateway {
 public:
  struct Options {
    // See CheckedListenAddress.
    std::string address = "127.0.0.1:50051";
    // The operators'. Empty: nothing is served to them.
    std::string admin_address;
    // Of both. An address that is not loopback needs TLS and an authenticator.
    TlsFiles tls;
    // Says who calls; must outlive the gateway. Null: everyone is believed to be who they say,
    // among `directory` (LoopbackAuthenticator).
    const Authenticator* authenticator = nullptr;
    // The tenants that there are, as of every call; must outlive the gateway. Null: "local".
    const TenantDirectory* directory = nullptr;
    // Tenants and API keys, to be managed on the admin address; null for none, and then both. Must
    // outlive the gateway.
    Tenants* tenants = nullptr;
    Keys* keys = nullptr;
    // Open calls, streams included; more are refused.
    int calls_max = gateway_limits::kCallsMaxDefault;
    // 64 random bits for seeds that nobody chose; called on several threads at once. Unset: the
    // system's.
    std::function<uint64_t()> random;
    // Must outlive the gateway.
    PictureServices pictures;
    // Of one upload.
    int64_t upload_bytes_max = gateway_limits::kUploadBytesMaxDefault;
  };

  // Listens and serves. `engine` and `clock` must outlive the gateway. INVALID_ARGUMENT for a bad
  // option; FAILED_PRECONDITION (TLS_FILES_INVALID); UNAVAILABLE (LISTEN_FAILED) when an address
  // cannot be bound. These errors are for the operator and name the address.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(const Options& options, Engine& engine,
                                                        Clock& clock);
  // Shuts down without grace.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // The bound ports; 0 for an admin address that there is not.
  int port() const;
  int admin_port() const;

  // Open calls, streams included.
  int64_t open_calls() const;

  // What health probes hear of the whole server and of darkroom.v1.GenerationService: SERVING or
  // NOT_SERVING. SERVING after Start.
  void SetServing(bool serving);

  // Probes hear NOT_SERVING from now on; calls go on. New work is the engine's to refuse.
  void Drain();

  // Stops accepting, tells clients to go elsewhere (GOAWAY), gives open calls `grace` to end,
  // cancels the rest and returns when none is left. Again: nothing.
  void Shutdown(absl::Duration grace);

 private:
  struct Server;
  explicit Gateway(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace darkroom
