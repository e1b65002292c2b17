#pragma once

#include <sys/types.h>

#include <string>

#include "base/unique_fd.h"

namespace darkroom {

// How paths are kept inside a folder: by the kernel in one call (openat2, Linux 5.6), or part by
// part where a kernel or a sandbox does not have that call.
enum class PathResolver { kKernel, kWalk };

PathResolver DetectPathResolver(int folder);

// Opens `path`, relative to `folder` and without "..", so that no symbolic link is followed,
// neither in the middle nor at the end, and nothing outside of `folder` is reached whatever
// somebody put there. An empty path is the folder itself. Without a descriptor errno says why:
// ELOOP or ENOTDIR for a link.
UniqueFd OpenBeneath(PathResolver resolver, int folder, const std::string& path, int flags,
                     mode_t mode = 0);

}  // namespace darkroom
