// darkroom-worker: one rank of a model, on this machine's processors. Started by the daemon's
// supervisor, which talks to it over --socket-fd; of no use by hand.

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "base/logging.h"
#include "darkroom/pipeline.h"
#include "device/cpu/cpu_ops.h"
#include "worker/worker_process.h"

namespace darkroom {
namespace {

int Main(int argc, char** argv) {
  BecomeWorkerProcess();
  CLI::App app("Runs batch plans for darkroomd, which starts it");
  int socket_fd = -1;
  int threads = 1;
  std::string log_level = "info";
  bool log_json = false;
  app.add_option("--socket-fd", socket_fd, "Connected AF_UNIX stream socket to the daemon")
      ->required();
  app.add_option("--threads", threads, "Threads that compute [1]");
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
  const std::unique_ptr<Ops> ops = CreateCpuOps(threads);
  WorkerOptions options;
  options.backend = "cpu";
  options.device = ops->DeviceName();
  options.memory_bytes = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGE_SIZE);
  ServeAndExit(
      socket_fd,
      [&ops](const std::string& path, const LoadOptions& load) {
        return LoadPipeline(path, load, *ops);
      },
      std::move(options));
}

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) { return darkroom::Main(argc, argv); }
