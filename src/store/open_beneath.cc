#include "store/open_beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace darkroom {
namespace {

UniqueFd OpenInKernel(int folder, const std::string& path, int flags, mode_t mode) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_openat2, folder, path.c_str(), &how, sizeof(how))));
}

UniqueFd OpenByWalking(int folder, const std::string& path, int flags, mode_t mode) {
  UniqueFd current;
  int parent = folder;
  size_t start = 0;
  for (;;) {
    const size_t slash = path.find('/', start);
    const std::string part = path.substr(start, slash - start);
    if (part.empty() || part == "..") {
      errno = EINVAL;
      return UniqueFd();
    }
    if (slash == std::string::npos) {
      return UniqueFd(::openat(parent, part.c_str(), flags | O_NOFOLLOW, mode));
    }
    UniqueFd next(::openat(parent, part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return UniqueFd();
    current = std::move(next);
    parent = current.get();
    start = slash + 1;
  }
}

}  // namespace

PathResolver DetectPathResolver(int folder) {
  // A sandbox that does not know the call may answer EPERM as well as ENOSYS.
  return OpenInKernel(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0) ? PathResolver::kKernel
                                                                        : PathResolver::kWalk;
}

UniqueFd OpenBeneath(PathResolver resolver, int folder, const std::string& path, int flags,
                     mode_t mode) {
  const std::string& target = path.empty() ? "." : path;
  return resolver == PathResolver::kKernel ? OpenInKernel(folder, target, flags | O_CLOEXEC, mode)
                                           : OpenByWalking(folder, target, flags | O_CLOEXEC, mode);
}

}  // namespace darkroom
