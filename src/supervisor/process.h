#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "darkroom/worker_pool.h"

namespace darkroom {

// A child process that only its pidfd names: a recycled pid can never be hit.
struct ChildProcess {
  pid_t pid = -1;
  UniqueFd pidfd;  // readable once the process has ended
};

// Starts `spec.program` with `spec.args --socket-fd 3 --threads N`. It gets `socket` as descriptor
// 3, /dev/null as standard input, our standard output and error, nothing else; default signal
// dispositions, an empty mask, and a process group of its own, so that the terminal's signals do
// not reach it. Safe in a process of many threads.
//
// The calling thread must live as long as the child: a worker asks the kernel to kill it when its
// parent goes, and to the kernel the parent is this thread.
absl::StatusOr<ChildProcess> StartProcess(const WorkerSpec& spec, int socket);

// SIGKILL; nothing when it has ended.
void KillProcess(int pidfd);

struct ProcessEnd {
  bool signalled = false;
  std::string description;  // "exit code 1", "signal 9"
};
// Takes an ended child off the kernel's table. REQUIRES: `pidfd` is readable.
ProcessEnd ReapProcess(int pidfd);

}  // namespace darkroom
