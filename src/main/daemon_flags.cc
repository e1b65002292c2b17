#include "main/daemon_flags.h"

#include <cstdlib>
#include <optional>
#include <vector>

#include "CLI/CLI.hpp"
#include "config/config_file.h"
#include "main/version.h"

namespace darkroom {
namespace {

// What may be given on the command line; unset ones leave the file's value.
struct Given {
  std::string config_file;
  std::vector<std::string> models;
  std::optional<std::string> listen;
  std::optional<std::string> listen_admin;
  std::optional<std::string> state_dir;
  std::optional<int> workers;
  std::optional<int> threads;
  std::optional<int> slots;
  std::optional<std::string> precision;
  std::optional<int> checkpoint_steps;
  std::optional<int64_t> step_tokens_max;
  std::optional<int> drain_seconds_max;
  std::optional<std::string> worker_program;
  std::optional<std::string> log_level;
  bool log_json = false;
};

void AddOptions(CLI::App& app, Given& given, std::string& port_file) {
  app.add_option("--model", given.models,
                 "Model folder in diffusers layout; repeat for several. Enough to start with.");
  app.add_option("--config", given.config_file, "Configuration file, YAML or JSON");
  app.add_option("--precision", given.precision,
                 "f32 or bf16: what the models' matrices are multiplied in [f32]");
  app.add_option("--listen", given.listen, "Address and port of the gRPC API [127.0.0.1:50051]");
  app.add_option("--listen-admin", given.listen_admin,
                 "Address and port of the operators' API [127.0.0.1, the next port]");
  app.add_option("--port-file", port_file,
                 "Write the two bound ports here, a line each, once listening");
  app.add_option("--state-dir", given.state_dir, "Folder for the database and outputs");
  app.add_option("--workers", given.workers, "Worker processes per model [1]");
  app.add_option("--threads", given.threads, "Compute threads per worker [cores / workers]");
  app.add_option("--slots", given.slots, "Jobs in memory per worker [32]");
  app.add_option("--checkpoint-steps", given.checkpoint_steps, "Steps between checkpoints [10]");
  app.add_option("--step-tokens-max", given.step_tokens_max,
                 "Tokens that one packed step may hold [measured]");
  app.add_option("--drain-seconds-max", given.drain_seconds_max,
                 "Longest drain after SIGTERM before what runs is left to the next start [60]");
  app.add_option("--worker-program", given.worker_program,
                 "Worker to run [darkroom-worker beside darkroomd]");
  app.add_option("--log-level", given.log_level, "debug, info, warning or error [info]");
  app.add_flag("--log-json", given.log_json, "Log one JSON object a line");
}

void Apply(const Given& given, v1::DaemonConfig& config) {
  for (const auto& path : given.models) config.add_models()->set_path(path);
  if (given.precision) {
    for (auto& model : *config.mutable_models()) model.set_precision(*given.precision);
  }
  if (given.listen) config.mutable_listen()->set_grpc(*given.listen);
  if (given.listen_admin) config.mutable_listen()->set_admin(*given.listen_admin);
  if (given.state_dir) config.mutable_store()->set_path(*given.state_dir);
  auto& workers = *config.mutable_workers();
  if (given.workers) workers.set_count(*given.workers);
  if (given.threads) workers.set_threads(*given.threads);
  if (given.slots) workers.set_slots(*given.slots);
  if (given.checkpoint_steps) workers.set_checkpoint_steps(*given.checkpoint_steps);
  if (given.worker_program) workers.set_program(*given.worker_program);
  if (given.step_tokens_max) {
    config.mutable_scheduler()->set_step_tokens_max(*given.step_tokens_max);
  }
  if (given.drain_seconds_max) config.set_drain_seconds_max(*given.drain_seconds_max);
  if (given.log_level) config.mutable_log()->set_level(*given.log_level);
  if (given.log_json) config.mutable_log()->set_json(true);
}

}  // namespace

absl::StatusOr<DaemonFlags> ParseDaemonFlags(int argc, char** argv) {
  CLI::App app("darkroomd: serves diffusion transformers to many tenants", "darkroomd");
  app.set_version_flag("--version", kVersion);
  app.footer("Example: darkroomd --model deploy/models/emoji");
  DaemonFlags flags;
  Given given;
  AddOptions(app, given, flags.port_file);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    std::exit(code == 0 ? 0 : 2);
  }
  v1::DaemonConfig proto;
  if (!given.config_file.empty()) {
    auto file = ReadConfigFile(given.config_file);
    if (!file.ok()) return file.status();
    proto = file->config;
  }
  Apply(given, proto);
  auto config = ResolveConfig(proto, Environment::Real());
  if (!config.ok()) return config.status();
  flags.config = *std::move(config);
  return flags;
}

}  // namespace darkroom
