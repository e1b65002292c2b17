#include "media/confine.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <csignal>

#include "media/limits.h"

namespace darkroom {
namespace {

namespace limits = media_limits;

absl::Status Limit(decltype(RLIMIT_AS) resource, rlim_t value, const char* name) {
  const rlimit limit{value, value};
  if (::setrlimit(resource, &limit) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, name);
}

}  // namespace

absl::Status ConfineProcess() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_DUMPABLE, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return absl::ErrnoToStatus(errno, "PR_SET_NO_NEW_PRIVS");
  }
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Sanitizers reserve terabytes of addresses.
  if (absl::Status status = Limit(RLIMIT_AS, limits::kDecoderMemoryBytesMax, "RLIMIT_AS");
      !status.ok()) {
    return status;
  }
#endif
  absl::Status status = Limit(RLIMIT_CORE, 0, "RLIMIT_CORE");
  if (status.ok()) status = Limit(RLIMIT_NOFILE, limits::kDecoderFilesMax, "RLIMIT_NOFILE");
  if (status.ok()) status = Limit(RLIMIT_NPROC, 0, "RLIMIT_NPROC");
  // Also bounds the memfds in which pixels go back.
  if (status.ok()) status = Limit(RLIMIT_FSIZE, limits::kDecoderFileBytesMax, "RLIMIT_FSIZE");
  return status;
}

absl::Status AllowCpuSeconds(int seconds) {
  rusage usage{};
  rlimit limit{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0 || ::getrlimit(RLIMIT_CPU, &limit) != 0) {
    return absl::ErrnoToStatus(errno, "RLIMIT_CPU");
  }
  // The limit counts from the process's start, in whole seconds begun.
  const auto used = static_cast<rlim_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + 1);
  limit.rlim_cur = used + static_cast<rlim_t>(seconds);
  if (::setrlimit(RLIMIT_CPU, &limit) != 0) return absl::ErrnoToStatus(errno, "RLIMIT_CPU");
  return absl::OkStatus();
}

}  // namespace darkroom
