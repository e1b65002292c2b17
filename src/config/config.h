#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "darkroom/v1/access.pb.h"
#include "darkroom/v1/config.pb.h"

namespace darkroom {

// The daemon's configuration with every default resolved and every range checked: what the rest of
// the daemon is given, once, and only reads. config.proto tells what each field means; the structs
// follow its messages.
struct Config {
  struct Model {
    std::string path;
    std::string name;
    std::string precision;  // "f32" or "bf16"
  };
  struct Tls {
    std::string certificate;  // PEM files; empty: no TLS
    std::string key;
    std::string client_ca;  // empty: clients are asked for no certificate
    bool require_client_certificate = false;
  };
  struct Listen {
    std::string grpc;   // "127.0.0.1:50051", "[::1]:0"
    std::string admin;  // likewise
    Tls tls;
  };
  struct Jwt {
    std::string jwks;  // path
    std::string issuer;
    std::string audience;
    std::string tenant_claim;
    std::string role_claim;
  };
  struct Certificate {
    std::string identity;  // a URI
    std::string tenant;    // empty for a role that acts for none
    v1::Role role = v1::ROLE_TENANT_USER;
  };
  struct Authentication {
    bool api_keys = true;
    std::optional<Jwt> jwt;
    std::vector<Certificate> certificates;
  };
  struct Store {
    std::string path;
    int32_t retention_hours = 0;
    int64_t free_bytes_min = 0;
    int32_t asset_retention_hours = 0;
  };
  struct Workers {
    int32_t count = 0;  // per model
    int32_t threads = 0;
    int32_t checkpoint_steps = 0;
    std::string program;
    int32_t slots = 0;
    std::vector<std::string> devices;  // ParseDeviceName takes each; at least one
  };
  struct Scheduler {
    int64_t step_tokens_max = 0;  // 0: measured when a worker attaches
    bool goodput = false;         // deadlines before shares
    int32_t burst_seconds = 0;
    int64_t decision_log_bytes = 0;    // 0: nothing is recorded
    int32_t quantum_milliseconds = 0;  // 0: steps are never cut
    bool revoke_plans = true;
  };
  struct Limits {
    int32_t queued_generations_per_tenant = 0;
    int32_t calls_max = 0;
    int64_t asset_bytes_per_tenant = 0;
    int64_t upload_bytes_max = 0;
  };
  struct Media {
    std::string program;
  };
  enum class ServiceClass { kGuaranteed, kTarget, kBestEffort };
  enum class Isolation { kShared, kExclusiveBatch, kDedicated };
  struct Tenant {
    std::string name;
    double weight = 1;
    ServiceClass service_class = ServiceClass::kBestEffort;
    Isolation isolation = Isolation::kShared;
    int32_t dedicated_workers = 0;  // per model
    int32_t generations_max = 0;
    int32_t running_max = 0;            // 0: no bound
    double generations_per_second = 0;  // 0: no bound
    int32_t generations_burst = 1;
    int64_t pixels_max = 0;                // 0: no bound
    int32_t steps_max = 0;                 // 0: no bound
    int64_t asset_bytes_max = 0;           // 0: limits.asset_bytes_per_tenant
    std::vector<std::string> models;       // names; empty: all
    std::optional<double> budget_seconds;  // none: no bound
  };
  struct Log {
    std::string level;
    bool json = false;
  };

  std::vector<Model> models;
  Listen listen;
  std::optional<Authentication> authentication;  // none: every caller is believed
  Store store;
  Workers workers;
  Scheduler scheduler;
  Limits limits;
  int32_t drain_seconds_max = 0;
  Log log;
  Media media;
  // In the file's order, and "local" among them.
  std::vector<Tenant> tenants;
};

// What defaults depend on, injected so that tests own it.
struct Environment {
  std::string xdg_state_home;     // empty: unset
  std::string home;               // empty: unset
  std::string working_directory;  // absolute
  std::string program_directory;  // where darkroomd is, absolute
  int cores = 1;                  // that this process may use

  // This process's own.
  static Environment Real();
};

// Resolves defaults and validates. Errors are INVALID_ARGUMENT, name the field, say what it may be
// and the nearest valid value: CONFIG_OUT_OF_RANGE, CONFIG_VALUE_INVALID, CONFIG_FIELD_MISSING.
absl::StatusOr<Config> ResolveConfig(const v1::DaemonConfig& proto, const Environment& environment);

// Reads a file and resolves it. Errors begin with "path:line: ".
absl::StatusOr<Config> LoadConfig(const std::string& path, const Environment& environment);

}  // namespace darkroom
