// The daemon's configuration file, parsed and resolved.
#include "config/config.h"
#include "config/config_file.h"
#include "fuzz/fuzz_target.h"

namespace darkroom::fuzz {

void Run(std::string_view bytes) {
  const auto file = ParseConfigFile("f.yaml", bytes);
  if (!file.ok()) {
    Require(file.status().message().substr(0, 6) == "f.yaml", "an error names the file");
    return;
  }
  const auto config = ResolveConfig(
      file->config,
      {.home = "/home", .working_directory = "/", .program_directory = "/bin", .cores = 4});
  if (!config.ok()) {
    Require(AtLine(config.status(), *file).code() == config.status().code(),
            "a place does not change an error");
    return;
  }
  Require(!config->models.empty() && !config->tenants.empty(), "there are models and tenants");
  Require(config->workers.count >= 1 && config->workers.count <= 64,
          "a number is within its range");
  for (const Config::Tenant& tenant : config->tenants) {
    Require(tenant.weight >= 0.001 && tenant.weight <= 1e6, "a weight is within its range");
  }
}

std::vector<std::string> Seeds() {
  return {
      "models:\n  - path: a/b\n    precision: bf16\nlisten:\n  grpc: 127.0.0.1:0\n",
      "{models: [{path: a, name: b}], workers: {count: 2, devices: [cpu, 'cuda:1']}}",
      "models: [{path: a}]\ntenants:\n  - {name: t, weight: 2.5, service_class: target}\n"
      "  - {name: u, isolation: dedicated, dedicated_workers: 1, generations_per_second: 1e3}\n",
      "models: [{path: a}]\nlisten: {tls: {certificate: c, key: k}}\nauthentication:\n"
      "  jwt: {jwks: j, issuer: i, audience: a}\n"
      "  certificates: [{identity: 'spiffe://a/b', tenant: local}]\n",
      "a: &x [1]\nmodels: *x\n",
  };
}

}  // namespace darkroom::fuzz
