// darkroomd: the daemon. Puts the layers together and takes them apart again;
// docs/life_of_a_request.md tells what happens in between.

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bounded_queue.h"
#include "base/logging.h"
#include "engine/limits.h"
#include "engine/local_assets.h"
#include "engine/local_engine.h"
#include "gateway/gateway.h"
#include "main/access.h"
#include "main/daemon_flags.h"
#include "main/limits.h"
#include "main/signals.h"
#include "main/tenants.h"
#include "main/version.h"
#include "store/directory_blob_store.h"
#include "store/sqlite_store.h"
#include "store/store_thread.h"
#include "supervisor/media_pool.h"
#include "supervisor/supervisor.h"
#include "tenancy/local_keys.h"
#include "tenancy/local_tenants.h"

namespace darkroom {
namespace {

// Open calls get this long to end once everything accepted has ended.
constexpr absl::Duration kCallsGrace = absl::Seconds(2);

// What main waits for.
struct Wake {
  enum Kind { kSignal, kDrained, kFatal } kind;
  absl::Status status;
};

engine::ControllerConfig ControllerConfigFrom(const Config& config,
                                              const TenantDirectory& directory, int64_t boot) {
  engine::ControllerConfig controller;
  for (const auto& model : config.models) {
    controller.fleet.models.push_back(
        {absl::StrCat("models/", model.name), model.path, model.precision});
  }
  controller.fleet.workers_per_model = config.workers.count;
  controller.fleet.slots = config.workers.slots;
  controller.fleet.devices = config.workers.devices;
  controller.fleet.step_tokens_max = config.scheduler.step_tokens_max;
  controller.fleet.revokes = config.scheduler.revoke_plans;
  controller.fleet.quantum_ns_max = int64_t{config.scheduler.quantum_milliseconds} * 1'000'000;
  controller.checkpoint_steps = config.workers.checkpoint_steps;
  controller.media_threads = engine::kMediaThreads;
  controller.generations_per_tenant_max = config.limits.queued_generations_per_tenant;
  controller.retention_ns = int64_t{config.store.retention_hours} * 3600 * 1'000'000'000;
  controller.boot = boot;
  controller.record_decisions = config.scheduler.decision_log_bytes > 0;
  controller.policy.priority =
      config.scheduler.goodput ? scheduler::Priority::kGoodput : scheduler::Priority::kStrict;
  controller.policy.burst_credit_ns = int64_t{config.scheduler.burst_seconds} * 1'000'000'000;
  // Those of the configuration first: workers of their own are theirs by their place in the list.
  for (const auto& tenant : config.tenants) {
    controller.tenants.push_back(PolicyOf(TenantOf(tenant), config.limits));
  }
  for (const auto& tenant : directory.List("", std::numeric_limits<int>::max())) {
    if (tenant.source() != v1::Tenant::SOURCE_API) continue;
    controller.tenants.push_back(PolicyOf(tenant, config.limits));
  }
  return controller;
}

engine::CostBook ReadCostsOrNone(const std::string& path) {
  auto costs = engine::ReadCosts(path);
  if (costs.ok()) return *std::move(costs);
  spdlog::warn("{}; costs are measured anew", std::string(costs.status().message()));
  return {};
}

engine::LocalEngineOptions EngineOptionsFrom(const Config& config, const TenantDirectory& directory,
                                             int64_t boot) {
  engine::LocalEngineOptions options;
  options.controller = ControllerConfigFrom(config, directory, boot);
  options.worker.program = config.workers.program;
  options.worker.threads = config.workers.threads;
  options.version = kVersion;
  options.costs_path = config.store.path + "/costs";
  options.controller.costs = ReadCostsOrNone(options.costs_path);
  options.decision_folder = config.store.path + "/decisions";
  options.decision_bytes_max = config.scheduler.decision_log_bytes;
  return options;
}

engine::LocalAssets::Options AssetOptionsFrom(const Config& config,
                                              const TenantDirectory& directory) {
  engine::LocalAssets::Options options;
  options.retention_ns = int64_t{config.store.asset_retention_hours} * 3600 * 1'000'000'000;
  options.quota_bytes = [&directory, &config](const std::string& tenant) {
    return AssetQuotaOf(directory, config.limits, tenant);
  };
  return options;
}

// How the engine and the pictures follow a change of tenants.
LocalTenants::Followers FollowersOf(engine::LocalEngine& engine, engine::LocalAssets& assets,
                                    const Config& config) {
  return {
      .changed =
          [&](const v1::Tenant& tenant) { engine.SetTenant(PolicyOf(tenant, config.limits)); },
      .stop = [&](const std::string& id, auto done) { engine.RemoveTenant(id, std::move(done)); },
      .delete_bytes = [&](const std::string& id,
                          auto done) { assets.DeleteTenantBytes(id, std::move(done)); }};
}

Gateway::Options GatewayOptionsFrom(const Config& config, const Access& access) {
  Gateway::Options options;
  options.address = config.listen.grpc;
  options.admin_address = config.listen.admin;
  const auto& tls = config.listen.tls;
  options.tls = {tls.certificate, tls.key, tls.client_ca, tls.require_client_certificate};
  options.authenticator = access.authenticator.get();
  options.calls_max = config.limits.calls_max;
  options.upload_bytes_max = config.limits.upload_bytes_max;
  return options;
}

MediaPool::Options MediaOptionsFrom(const Config& config) {
  MediaPool::Options options;
  options.decoder.program = config.media.program;
  options.decoder.args = {"--log-level", config.log.level};
  if (config.log.json) options.decoder.args.emplace_back("--log-json");
  return options;
}

// Each picture that waits with its generation is a descriptor: what the system allows is taken, as
// far as it goes.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, kFilesMax));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// The number of this start and the queue to go on with.
absl::Status Recover(GenerationStore& store, int64_t& boot, engine::Recovered& recovered) {
  return store.Transact([&]() -> absl::Status {
    auto number = store.NextBoot();
    if (!number.ok()) return number.status();
    boot = *number;
    auto unfinished = store.Unfinished();
    if (!unfinished.ok()) return unfinished.status();
    for (auto& generation : *unfinished) {
      auto events = store.EventsAfter(generation.name(), 0);
      if (!events.ok()) return events.status();
      recovered.items.push_back({std::move(generation), *std::move(events)});
    }
    return absl::OkStatus();
  });
}

// Appears whole or not at all: who waits for it never reads half a number.
absl::Status WritePortFile(const std::string& path, const Gateway& gateway) {
  const std::string temporary = path + ".tmp";
  std::ofstream(temporary) << gateway.port() << "\n" << gateway.admin_port() << "\n";
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write the port file ", path));
  }
  return absl::OkStatus();
}

int64_t MonotonicNanos() { return Clock::Real().MonotonicNanos(); }

// Waits for the end: a signal drains, a second one stops at once.
absl::Status ServeUntilTold(BoundedQueue<Wake>& wakes, Gateway& gateway,
                            engine::LocalEngine& engine, const Config& config) {
  int64_t deadline_ns = -1;
  while (true) {
    std::vector<Wake> batch;
    wakes.PopAll(batch, 1,
                 deadline_ns < 0 ? -1 : std::max<int64_t>(0, deadline_ns - MonotonicNanos()));
    if (batch.empty()) {
      spdlog::warn("still working after {} s; the rest goes on at the next start",
                   config.drain_seconds_max);
      return absl::OkStatus();
    }
    switch (batch[0].kind) {
      case Wake::kSignal:
        if (deadline_ns >= 0) {
          spdlog::warn("told twice: stopping now; the rest goes on at the next start");
          return absl::OkStatus();
        }
        spdlog::info("draining: refusing new work, finishing what was accepted");
        deadline_ns = MonotonicNanos() + int64_t{config.drain_seconds_max} * 1'000'000'000;
        gateway.Drain();
        engine.Drain();
        break;
      case Wake::kDrained:
        spdlog::info("drained");
        return absl::OkStatus();
      case Wake::kFatal:
        return batch[0].status;
    }
  }
}

absl::Status Run(const DaemonFlags& flags, Signals& signals) {
  const Config& config = flags.config;
  RaiseFileLimit();
  SqliteStoreOptions store_options;
  store_options.free_bytes_min = config.store.free_bytes_min;
  auto sqlite = OpenSqliteStore(config.store.path, store_options);
  if (!sqlite.ok()) return sqlite.status();
  auto blobs = OpenDirectoryBlobStore(config.store.path + "/blobs");
  if (!blobs.ok()) return blobs.status();
  int64_t boot = 0;
  engine::Recovered recovered;
  if (auto status = Recover(**sqlite, boot, recovered); !status.ok()) return status;
  TenantDirectory directory;
  if (auto status = FillDirectory(config, **sqlite, directory); !status.ok()) return status;
  auto access = OpenAccess(config, directory, **sqlite, Clock::Real());
  if (!access.ok()) return access.status();
  StoreThread store(*std::move(sqlite));
  LocalKeys keys(store, *access->ring, Clock::Real());

  auto pictures = std::make_unique<MediaPool>(MediaOptionsFrom(config));
  auto assets = std::make_unique<engine::LocalAssets>(AssetOptionsFrom(config, directory), store,
                                                      **blobs, *pictures, Clock::Real());

  // Shared with the signal thread, which lives longer than this function.
  const auto wakes = std::make_shared<BoundedQueue<Wake>>(kWakesMax);
  engine::LocalEngineOptions options = EngineOptionsFrom(config, directory, boot);
  options.pictures = pictures.get();
  options.on_purge = [&assets] { assets->Purge(); };
  options.on_drained = [wakes] { wakes->Push({Wake::kDrained, {}}); };
  options.on_fatal = [wakes](const absl::Status& status) { wakes->Push({Wake::kFatal, status}); };
  engine::LocalEngine engine(options, store, **blobs, Clock::Real());
  auto workers = Supervisor::Create(engine);
  if (!workers.ok()) return workers.status();
  engine.Start(**workers, std::move(recovered));

  LocalTenants tenants(store, directory, *access->ring, Clock::Real(),
                       FollowersOf(engine, *assets, config));
  tenants.Resume();

  Gateway::Options gateway_options = GatewayOptionsFrom(config, *access);
  gateway_options.directory = &directory;
  gateway_options.tenants = &tenants;
  gateway_options.keys = &keys;
  gateway_options.pictures = {assets.get(), pictures.get()};
  auto gateway = Gateway::Start(gateway_options, engine, Clock::Real());
  absl::Status status = gateway.status();
  if (status.ok() && !flags.port_file.empty()) {
    status = WritePortFile(flags.port_file, **gateway);
  }
  if (status.ok()) {
    signals.Listen([wakes](int) { wakes->TryPush({Wake::kSignal, {}}); });
    spdlog::info("darkroomd {} listens on port {}, for operators on {}; {}; {}", kVersion,
                 (*gateway)->port(), (*gateway)->admin_port(), DescribeAccess(config),
                 DescribeTenants(directory));
    status = ServeUntilTold(*wakes, **gateway, engine, config);
    (*gateway)->Shutdown(kCallsGrace);
  }
  engine.Stop();
  workers->reset();
  // While what they answer to is still there.
  pictures.reset();
  assets.reset();
  store.Stop();
  return status;
}

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) {
  darkroom::Signals signals;
  auto flags = darkroom::ParseDaemonFlags(argc, argv);
  if (!flags.ok()) {
    std::fprintf(stderr, "darkroomd: %s\n", std::string(flags.status().message()).c_str());
    return 2;
  }
  const auto& log = flags->config.log;
  absl::Status status = darkroom::InitLogging("darkroomd", log.level, log.json);
  if (status.ok()) status = darkroom::Run(*flags, signals);
  if (!status.ok()) {
    std::fprintf(stderr, "darkroomd: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
