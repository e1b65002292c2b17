#pragma once

#include "worker/worker.h"

namespace darkroom {

// Makes this process a worker: it dies with its daemon, leaves no core dump and cannot be traced,
// and leaves signals from the terminal to the daemon. Call first in main.
void BecomeWorkerProcess();

// Serves the daemon on `socket_fd`, a connected AF_UNIX stream socket that this takes, and ends the
// process: 0 after Shutdown or when the daemon is gone, 1 after a failure, 2 when `socket_fd` is no
// such socket.
[[noreturn]] void ServeAndExit(int socket_fd, PipelineFactory factory, WorkerOptions options);

}  // namespace darkroom
