#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "darkroom/v1/admin.pb.h"
#include "darkroom/v1/asset.pb.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/model.pb.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// Breaks off a stream from another thread. Thread-safe; for one call at a time, and for any number
// of calls after each other.
class Canceller {
 public:
  Canceller();
  ~Canceller();
  Canceller(const Canceller&) = delete;
  Canceller& operator=(const Canceller&) = delete;
  // The running stream ends with CANCELLED, and later ones before they start.
  void Cancel();
  bool cancelled() const;

 private:
  friend class Client;
  struct State;
  std::shared_ptr<State> state_;
};

// A connection to a Darkroom server. Thread-safe. Connects when first used and again when the
// connection breaks.
//
// Statuses carry the server's google.rpc details, as base/error.h makes them. A server that cannot
// be reached is UNAVAILABLE (SERVER_UNREACHABLE).
class Client {
 public:
  struct Options {
    std::string server;  // "host:port"
    // The operators' API. Empty: the same host, and the port after `server`'s.
    std::string admin_server;
    // Whose the calls are. Empty: the credentials', or without any the server's own, "local".
    std::string tenant;
    // An API key's text or a signed token. Empty: none.
    std::string credential;
    bool tls = false;
    // PEM: who signs the server's certificate (empty: whom this machine trusts), and this client's
    // own certificate with its key (empty: none).
    std::string ca;
    std::string certificate;
    std::string key;
  };
  explicit Client(Options options);
  explicit Client(const std::string& server, const std::string& tenant = "")
      : Client(Options{.server = server, .tenant = tenant}) {}
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const std::string& server() const { return options_.server; }
  const std::string& admin_server() const { return options_.admin_server; }
  // As resource names have it: "local" when none was given, and "-" when the credentials tell.
  const std::string& tenant() const { return tenant_; }

  // Each blocks until the answer, at most 30 s.
  absl::StatusOr<v1::Generation> CreateGeneration(const v1::GenerateRequest& request);
  absl::StatusOr<v1::EstimateGenerationResponse> EstimateGeneration(
      const v1::GenerateRequest& request);
  absl::StatusOr<v1::Generation> GetGeneration(const std::string& name, bool include_outputs);
  absl::StatusOr<v1::ListGenerationsResponse> ListGenerations(
      const v1::ListGenerationsRequest& request);
  absl::StatusOr<v1::Generation> CancelGeneration(const std::string& name);
  absl::Status DeleteGeneration(const std::string& name);
  // All pages.
  absl::StatusOr<std::vector<v1::Model>> ListModels();
  absl::StatusOr<v1::Model> GetModel(const std::string& name);
  absl::StatusOr<v1::ServerInfo> GetServerInfo();
  absl::StatusOr<v1::GetStatusResponse> GetStatus();

  // Tenants.
  absl::StatusOr<v1::Tenant> CreateTenant(const v1::CreateTenantRequest& request);
  absl::StatusOr<v1::Tenant> GetTenant(const std::string& name);
  // All pages.
  absl::StatusOr<std::vector<v1::Tenant>> ListTenants();
  absl::StatusOr<v1::Tenant> UpdateTenant(const v1::UpdateTenantRequest& request);
  // Waits for the end of all that the tenant has, as the transfers below do.
  absl::Status DeleteTenant(const v1::DeleteTenantRequest& request);

  // Keys. `tenant`: "tenants/{tenant}", or empty for all that the caller may see.
  absl::StatusOr<v1::CreateApiKeyResponse> CreateApiKey(const v1::ApiKey& key);
  absl::StatusOr<std::vector<v1::ApiKey>> ListApiKeys(const std::string& tenant);
  absl::StatusOr<v1::RotateApiKeyResponse> RotateApiKey(const v1::RotateApiKeyRequest& request);
  absl::StatusOr<v1::ApiKey> RevokeApiKey(const std::string& name);

  // Pictures. Transfers block at most 5 minutes, the others as above.
  absl::StatusOr<v1::Asset> UploadAsset(const std::string& bytes);
  absl::StatusOr<std::string> DownloadAsset(const std::string& name);
  absl::StatusOr<v1::Asset> GetAsset(const std::string& name);
  absl::StatusOr<v1::ListAssetsResponse> ListAssets(const v1::ListAssetsRequest& request);
  absl::Status DeleteAsset(const std::string& name);

  // Each blocks until the stream ends, calling `on_event` on this thread. An error of `on_event`
  // breaks off the stream and is returned. `canceller` may be null.
  using OnEvent = absl::FunctionRef<absl::Status(const v1::GenerateEvent&)>;
  absl::Status Generate(const v1::GenerateRequest& request, OnEvent on_event, Canceller* canceller);
  absl::Status WatchGeneration(const std::string& name, int64_t after_sequence, OnEvent on_event,
                               Canceller* canceller);

 private:
  struct Connection;
  const Options options_;
  const std::string tenant_;
  const std::unique_ptr<Connection> connection_;
};

// How long the server asks to wait before another attempt; zero when it does not.
absl::Duration RetryDelay(const absl::Status& status);

}  // namespace darkroom
