#include "supervisor/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ipc/protocol.h"

namespace darkroom {
namespace {

// By number: glibc 2.36 declares the two wrappers without extern "C", so that C++ cannot link them.
int PidfdOpen(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

void PidfdSendSignal(int pidfd, int signal) {
  ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0);
}

// What posix_spawn is told to do between fork and exec.
class SpawnPlan {
 public:
  explicit SpawnPlan(int socket) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    // The socket first: its number may be any, also 0.
    Check(::posix_spawn_file_actions_adddup2(&actions_, socket, kWorkerSocketFd));
    Check(::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0));
    // All of ours are close-on-exec; a library's might not be.
    Check(::posix_spawn_file_actions_addclosefrom_np(&actions_, kWorkerSocketFd + 1));
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    Check(::posix_spawnattr_setsigmask(&attributes_, &none));
    Check(::posix_spawnattr_setsigdefault(&attributes_, &all));
    Check(::posix_spawnattr_setpgroup(&attributes_, 0));
    Check(::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  int Run(const std::string& program, char* const* argv, pid_t& pid) {
    if (error_ != 0) return error_;
    return ::posix_spawn(&pid, program.c_str(), &actions_, &attributes_, argv, environ);
  }

 private:
  void Check(int error) {
    if (error_ == 0) error_ = error;
  }

  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
  int error_ = 0;
};

}  // namespace

absl::StatusOr<ChildProcess> StartProcess(const WorkerSpec& spec, int socket) {
  std::vector<std::string> words = {spec.program};
  words.insert(words.end(), spec.args.begin(), spec.args.end());
  words.insert(words.end(), {"--socket-fd", absl::StrCat(kWorkerSocketFd), "--threads",
                             absl::StrCat(spec.threads)});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ChildProcess child;
  if (const int error = SpawnPlan(socket).Run(spec.program, argv.data(), child.pid); error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("cannot start ", spec.program));
  }
  child.pidfd = UniqueFd(PidfdOpen(child.pid));
  if (!child.pidfd) {
    const int error = errno;
    // Still ours and not reaped, so the number cannot be another's.
    ::kill(child.pid, SIGKILL);
    while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return absl::ErrnoToStatus(error, "pidfd_open");
  }
  return child;
}

void KillProcess(int pidfd) { PidfdSendSignal(pidfd, SIGKILL); }

ProcessEnd ReapProcess(int pidfd) {
  siginfo_t info{};
  int result;
  do {
    result = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED);
  } while (result < 0 && errno == EINTR);
  ProcessEnd end;
  if (result < 0) {
    // Someone in this process ignores SIGCHLD: the kernel has already forgotten how it ended.
    end.description = "unknown end";
    return end;
  }
  end.signalled = info.si_code != CLD_EXITED;
  end.description = absl::StrCat(end.signalled ? "signal " : "exit code ", info.si_status);
  return end;
}

}  // namespace darkroom
