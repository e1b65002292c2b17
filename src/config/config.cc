#include "config/config.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/device_name.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/nearest_name.h"
#include "base/resource_name.h"
#include "config/authentication.h"
#include "config/config_file.h"
#include "config/fields.h"
#include "config/limits.h"
#include "config/listen.h"
#include "config/tenants.h"

namespace darkroom {
namespace {

absl::Status Invalid(const std::string& field, const std::string& problem,
                     const std::string& wanted) {
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_VALUE_INVALID",
               absl::StrCat(field, " is ", problem, "; it ", wanted))
      .Field(field, wanted);
}

absl::Status Missing(const std::string& field, const std::string& why) {
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_FIELD_MISSING",
               absl::StrCat(field, " is not set; ", why))
      .Field(field, why);
}

template <typename T>
std::optional<T> Given(bool has, T value) {
  return has ? std::optional<T>(value) : std::nullopt;
}

// Resolves whole numbers one after another and keeps the first error.
class Integers {
 public:
  template <typename T>
  T Resolve(const IntegerField& field, std::optional<T> given) {
    if (!given) return static_cast<T>(field.default_value.value_or(0));
    if (status_.ok()) status_ = CheckRange(field, *given);
    return *given;
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

// The valid name that looks most like `text`.
std::string NearestId(std::string_view text) {
  std::string id;
  for (const char c : text.substr(0, kIdBytesMax)) {
    const std::string lower(1, c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    id += IsValidId(lower) ? lower : "-";
  }
  return id.empty() ? "model" : id;
}

absl::StatusOr<std::string> ResolvePrecision(const std::string& field, const std::string& given) {
  if (given.empty()) return std::string("f32");
  static const std::vector<std::string> kPrecisions = {"f32", "bf16"};
  if (std::find(kPrecisions.begin(), kPrecisions.end(), given) != kPrecisions.end()) return given;
  return Invalid(
      field, absl::StrCat("\"", given, "\""),
      absl::StrCat("must be f32 or bf16; nearest: \"",
                   NearestNames(given, kPrecisions, kConfigSuggestionsMax).front(), "\""));
}

absl::StatusOr<std::vector<Config::Model>> ResolveModels(const v1::DaemonConfig& proto,
                                                         const Environment& environment) {
  if (proto.models().empty()) return Missing("models", "at least one model is needed");
  if (proto.models_size() > kConfigModelsMax) {
    return Invalid("models", absl::StrCat(proto.models_size(), " entries long"),
                   absl::StrCat("may have up to ", kConfigModelsMax));
  }
  std::vector<Config::Model> models;
  std::set<std::string> names;
  for (int i = 0; i < proto.models_size(); ++i) {
    const std::string field = absl::StrCat("models[", i, "]");
    auto precision = ResolvePrecision(field + ".precision", proto.models(i).precision());
    if (!precision.ok()) return precision.status();
    Config::Model model{proto.models(i).path(), proto.models(i).name(), *std::move(precision)};
    if (model.path.empty()) return Missing(field + ".path", "it is the model's folder");
    if (model.name.empty()) {
      // The separator at the end makes the last part empty, so that "a/b" and "a/b/" are the same.
      const auto folder = std::filesystem::path(environment.working_directory) / model.path / "";
      // "FLUX.1-dev" must work as it is.
      model.name = NearestId(folder.lexically_normal().parent_path().filename().string());
    }
    if (!IsValidId(model.name)) {
      return Invalid(field + ".name", absl::StrCat("\"", model.name, "\""),
                     absl::StrCat("must be 1 to 63 characters of a-z, 0-9 and -; nearest: \"",
                                  NearestId(model.name), "\""));
    }
    if (!names.insert(model.name).second) {
      return Invalid(field + ".name", absl::StrCat("\"", model.name, "\""),
                     "must be unlike every other model's; set another name");
    }
    models.push_back(std::move(model));
  }
  return models;
}

absl::StatusOr<std::string> ResolveStorePath(const std::string& given,
                                             const Environment& environment) {
  if (!given.empty()) return given;
  if (!environment.xdg_state_home.empty()) return environment.xdg_state_home + "/darkroom";
  if (!environment.home.empty()) return environment.home + "/.local/state/darkroom";
  return Missing("store.path", "there is no default where neither XDG_STATE_HOME nor HOME is set");
}

absl::StatusOr<std::string> ResolveLogLevel(const std::string& given) {
  if (given.empty()) return std::string("info");
  static const std::vector<std::string> kLevels = {"debug", "info", "warning", "error"};
  if (std::find(kLevels.begin(), kLevels.end(), given) != kLevels.end()) return given;
  return Invalid("log.level", absl::StrCat("\"", given, "\""),
                 absl::StrCat("must be debug, info, warning or error; nearest: \"",
                              NearestNames(given, kLevels, kConfigSuggestionsMax).front(), "\""));
}

absl::StatusOr<std::vector<std::string>> ResolveDevices(const v1::WorkerConfig& workers) {
  if (workers.devices().empty()) return std::vector<std::string>{"cpu"};
  if (workers.devices_size() > kConfigDevicesMax) {
    return Invalid("workers.devices", absl::StrCat(workers.devices_size(), " entries long"),
                   absl::StrCat("may have up to ", kConfigDevicesMax));
  }
  for (int i = 0; i < workers.devices_size(); ++i) {
    if (const auto device = ParseDeviceName(workers.devices(i)); !device.ok()) {
      const std::string field = absl::StrCat("workers.devices[", i, "]");
      return Error(absl::StatusCode::kInvalidArgument, "CONFIG_VALUE_INVALID",
                   absl::StrCat(field, ": ", device.status().message()))
          .Field(field, "cpu, or cuda:N for a GPU");
    }
  }
  return std::vector<std::string>(workers.devices().begin(), workers.devices().end());
}

absl::StatusOr<bool> ResolveGoodput(const std::string& given) {
  if (given.empty() || given == "strict") return false;
  if (given == "goodput") return true;
  static const std::vector<std::string> kPriorities = {"strict", "goodput"};
  return Invalid(
      "scheduler.priority", absl::StrCat("\"", given, "\""),
      absl::StrCat("must be strict or goodput; nearest: \"",
                   NearestNames(given, kPriorities, kConfigSuggestionsMax).front(), "\""));
}

absl::Status ResolveIntegers(const v1::DaemonConfig& proto, const Environment& environment,
                             Config& config) {
  Integers integers;
  const auto& store = proto.store();
  config.store.retention_hours = integers.Resolve(
      kRetentionHours, Given(store.has_retention_hours(), store.retention_hours()));
  config.store.free_bytes_min =
      integers.Resolve(kFreeBytes, Given(store.has_free_bytes_min(), store.free_bytes_min()));
  config.store.asset_retention_hours =
      integers.Resolve(kAssetRetentionHours,
                       Given(store.has_asset_retention_hours(), store.asset_retention_hours()));
  const auto& workers = proto.workers();
  config.workers.count = integers.Resolve(
      kWorkerCount,
      std::optional<int32_t>(workers.has_count() ? workers.count()
                                                 : std::max(1, workers.devices_size())));
  config.workers.threads =
      integers.Resolve(kWorkerThreads, Given(workers.has_threads(), workers.threads()));
  config.workers.checkpoint_steps = integers.Resolve(
      kCheckpointSteps, Given(workers.has_checkpoint_steps(), workers.checkpoint_steps()));
  config.workers.slots =
      integers.Resolve(kWorkerSlots, Given(workers.has_slots(), workers.slots()));
  const auto& scheduler = proto.scheduler();
  config.scheduler.step_tokens_max = integers.Resolve(
      kStepTokens, Given(scheduler.has_step_tokens_max(), scheduler.step_tokens_max()));
  config.scheduler.burst_seconds = integers.Resolve(
      kBurstSeconds, Given(scheduler.has_burst_seconds(), scheduler.burst_seconds()));
  config.scheduler.decision_log_bytes = integers.Resolve(
      kDecisionLogBytes, Given(scheduler.has_decision_log_bytes(), scheduler.decision_log_bytes()));
  config.scheduler.quantum_milliseconds = integers.Resolve(
      kQuantumMilliseconds,
      Given(scheduler.has_quantum_milliseconds(), scheduler.quantum_milliseconds()));
  const auto& limits = proto.limits();
  config.limits.queued_generations_per_tenant = integers.Resolve(
      kQueuedGenerations,
      Given(limits.has_queued_generations_per_tenant(), limits.queued_generations_per_tenant()));
  config.limits.calls_max =
      integers.Resolve(kCalls, Given(limits.has_calls_max(), limits.calls_max()));
  config.limits.asset_bytes_per_tenant = integers.Resolve(
      kAssetBytes, Given(limits.has_asset_bytes_per_tenant(), limits.asset_bytes_per_tenant()));
  config.limits.upload_bytes_max = integers.Resolve(
      kUploadBytes, Given(limits.has_upload_bytes_max(), limits.upload_bytes_max()));
  config.drain_seconds_max = integers.Resolve(
      kDrainSeconds, Given(proto.has_drain_seconds_max(), proto.drain_seconds_max()));
  if (!integers.status().ok()) return integers.status();

  auto tenants = ResolveTenants(proto, config.limits.queued_generations_per_tenant);
  if (!tenants.ok()) return tenants.status();
  config.tenants = *std::move(tenants);
  if (!workers.has_threads()) {
    int64_t per_model = config.workers.count;
    for (const auto& tenant : config.tenants) per_model += tenant.dedicated_workers;
    const int64_t worker_count = std::max(int64_t{1}, per_model * proto.models_size());
    config.workers.threads = static_cast<int32_t>(
        std::clamp(environment.cores / worker_count, kWorkerThreads.min, kWorkerThreads.max));
  }
  return absl::OkStatus();
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Environment Environment::Real() {
  std::error_code error;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  const bool known = sched_getaffinity(0, sizeof(cpus), &cpus) == 0;
  return {.xdg_state_home = Variable("XDG_STATE_HOME"),
          .home = Variable("HOME"),
          .working_directory = std::filesystem::current_path(error).string(),
          .program_directory =
              std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string(),
          .cores = known ? CPU_COUNT(&cpus) : 1};
}

absl::StatusOr<Config> ResolveConfig(const v1::DaemonConfig& proto,
                                     const Environment& environment) {
  Config config;
  auto models = ResolveModels(proto, environment);
  if (!models.ok()) return models.status();
  config.models = *std::move(models);
  auto listen = ResolveListen(proto);
  if (!listen.ok()) return listen.status();
  config.listen = *std::move(listen);
  auto store_path = ResolveStorePath(proto.store().path(), environment);
  if (!store_path.ok()) return store_path.status();
  config.store.path = *std::move(store_path);
  auto log_level = ResolveLogLevel(proto.log().level());
  if (!log_level.ok()) return log_level.status();
  config.log.level = *std::move(log_level);
  config.log.json = proto.log().json();
  auto goodput = ResolveGoodput(proto.scheduler().priority());
  if (!goodput.ok()) return goodput.status();
  config.scheduler.goodput = *goodput;
  auto devices = ResolveDevices(proto.workers());
  if (!devices.ok()) return devices.status();
  config.workers.devices = *std::move(devices);
  config.scheduler.revoke_plans =
      !proto.scheduler().has_revoke_plans() || proto.scheduler().revoke_plans();
  config.workers.program = proto.workers().program().empty()
                               ? environment.program_directory + "/darkroom-worker"
                               : proto.workers().program();
  config.media.program = proto.media().program().empty()
                             ? environment.program_directory + "/darkroom-media"
                             : proto.media().program();
  if (auto status = ResolveIntegers(proto, environment, config); !status.ok()) return status;
  if (auto status = CheckTenantModels(config); !status.ok()) return status;
  if (!proto.has_authentication()) return config;
  auto authentication = ResolveAuthentication(proto, config);
  if (!authentication.ok()) return authentication.status();
  config.authentication = *std::move(authentication);
  return config;
}

absl::StatusOr<Config> LoadConfig(const std::string& path, const Environment& environment) {
  auto file = ReadConfigFile(path);
  if (!file.ok()) return file.status();
  auto config = ResolveConfig(file->config, environment);
  if (!config.ok()) return AtLine(config.status(), *file);
  return config;
}

}  // namespace darkroom
