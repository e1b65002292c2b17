#include "worker/worker_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <utility>

#include "base/logging.h"
#include "ipc/unix_stream.h"

namespace darkroom {
namespace {

bool IsUnixStreamSocket(int fd) {
  int domain = 0;
  int type = 0;
  socklen_t size = sizeof(int);
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return false;
  size = sizeof(int);
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return false;
  return domain == AF_UNIX && type == SOCK_STREAM;
}

// Without static destructors: nothing here needs them, and a math library's thread pool may be in
// the middle of a step.
[[noreturn]] void Exit(int code) {
  spdlog::default_logger()->flush();
  ::_exit(code);
}

}  // namespace

void BecomeWorkerProcess() {
  // The end of the socket says the same; this holds even while a step blocks every thread.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Prompts and latents are in memory: no core dump, no ptrace by others of the same user.
  ::prctl(PR_SET_DUMPABLE, 0);
  // A terminal's or a service manager's signal reaches every process at once, but only the daemon
  // knows what must be finished or checkpointed first; it then says Shutdown.
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);
}

void ServeAndExit(int socket_fd, PipelineFactory factory, WorkerOptions options) {
  if (!IsUnixStreamSocket(socket_fd)) {
    spdlog::error("--socket-fd must be a connected AF_UNIX stream socket");
    Exit(2);
  }
  ::fcntl(socket_fd, F_SETFD, FD_CLOEXEC);
  options.exit_now = Exit;
  Worker worker(std::make_unique<UnixStream>(UniqueFd(socket_fd), UnixStream::Mode::kBlocking),
                std::move(factory), std::move(options));
  Exit(worker.Run());
}

}  // namespace darkroom
