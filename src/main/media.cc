// darkroom-media: decodes uploaded pictures, confined. Started by the daemon, which talks to it
// over
// --socket-fd; of no use by hand.

#include <fcntl.h>

#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "base/logging.h"
#include "base/unique_fd.h"
#include "ipc/unix_stream.h"
#include "media/confine.h"
#include "media/decode_server.h"

namespace darkroom {
namespace {

int Main(int argc, char** argv) {
  CLI::App app("Decodes pictures for darkroomd, which starts it");
  int socket_fd = -1;
  int threads = 1;
  std::string log_level = "info";
  bool log_json = false;
  app.add_option("--socket-fd", socket_fd, "Connected AF_UNIX stream socket to the daemon")
      ->required();
  app.add_option("--threads", threads, "Always 1: one picture at a time");
  app.add_option("--log-level", log_level, "debug, info, warning or error [info]");
  app.add_flag("--log-json", log_json, "Log one JSON object a line");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  absl::Status status = InitLogging("media", log_level, log_json);
  if (status.ok()) status = ConfineProcess();
  if (status.ok()) {
    ::fcntl(socket_fd, F_SETFD, FD_CLOEXEC);
    status = ServeDecodes(
        std::make_unique<UnixStream>(UniqueFd(socket_fd), UnixStream::Mode::kBlocking));
  }
  if (status.ok()) return 0;
  spdlog::error("{}", std::string(status.message()));
  return 1;
}

}  // namespace
}  // namespace darkroom

int main(int argc, char** argv) { return darkroom::Main(argc, argv); }
