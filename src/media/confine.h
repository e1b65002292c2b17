#pragma once

#include "absl/status/status.h"

namespace darkroom {

// Gives up what a decoder of pictures does not need, for good: memory beyond its bound, new files,
// processes and privileges, core dumps; and asks to be killed when the daemon's thread that started
// it ends. Called once, before the first byte of an upload is seen. This is the place where a
// filter of system calls belongs.
absl::Status ConfineProcess();

// Lets the process compute for so long from now; past that the kernel kills it.
absl::Status AllowCpuSeconds(int seconds);

}  // namespace darkroom
