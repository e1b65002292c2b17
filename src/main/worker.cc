// darkroom-worker: one rank of a model, on this machine's processors or one of its GPUs. Started by
// the daemon's supervisor, which talks to it over --socket-fd; of no use by hand.

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "darkroom/pipeline.h"
#include "device/cpu/cpu_ops.h"
#include "device/cuda/cuda_ops.h"
#include "device/device_name.h"
#include "worker/worker_process.h"

namespace darkroom {
namespace {

absl::StatusOr<std::unique_ptr<Ops>> OpenDevice(const DeviceName& name, int threads,
                                                WorkerOptions& options) {
  if (name.kind == DeviceName::Kind::kCpu) {
    options.backend = "cpu";
    options.memory_bytes =
        static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGE_SIZE);
    return CreateCpuOps(threads);
  }
  options.backend = "cuda";
  auto ops = CreateCudaOps(name.index);
  if (!ops.ok()) return ops.status();
  auto memory = CudaMemoryBytes(name.index);
  if (!memory.ok()) return memory.status();
  options.memory_bytes = *memory;
  return ops;
}

int Main(int argc, char** argv) {
  BecomeWorkerProcess();
  CLI::App app("Runs batch plans for darkroomd, which starts it");
  int socket_fd = -1;
  int threads = 1;
  std::string device = "cpu";
  std::string log_level = "info";
  bool log_json = false;
  app.add_option("--socket-fd", socket_fd, "Connected AF_UNIX stream socket to the daemon")
      ->required();
  app.add_option("--threads", threads, "Threads that compute [1]");
  app.add_option("--device", device, "What computes: cpu, or cuda:N for the N-th GPU [cpu]");
  app.add_option("--log-level", log_level, "debug, info, warning or error [info]");
  app.add_flag("--log-json", log_json, "Log one JSON object a line");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  if (const absl::Status status = InitLogging("worker", log_level, log_json); !status.ok()) {
    spdlog::error("{}", std::string(status.message()));
    return 2;
  }
  const auto name = ParseDeviceName(device);
  if (!name.ok()) {
    spdlog::error("--device: {}", std::string(name.status().message()));
    return 2;
  }
  WorkerOptions options;
  const auto ops = OpenDevice(*name, threads, options);
  // The daemon is told why when it asks for a model: it alone can tell its clients.
  if (!ops.ok()) spdlog::error("{}: {}", device, std::string(ops.status().message()));
  options.device = ops.ok() ? (*ops)->DeviceName() : absl::StrCat(device, " (not available)");
  ServeAndExit(
      socket_fd,
      [&ops](const std::string& path,
             const LoadOptions& load) -> absl::StatusOr<std::unique_ptr<Pipeline>> {
        if (!ops.ok()) return ops.status();
        return LoadPipeline(path, load, **ops);
      },
      std::move(options));
}

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) { return darkroom::Main(argc, argv); }
