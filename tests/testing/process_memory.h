#pragma once

#include <sys/types.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace darkroom::testing {

// A process's proportional share of memory in bytes (PSS of /proc/PID/smaps_rollup): pages that n
// processes map count 1/n in each, so that sums over processes count every page once. 0 when the
// process is gone.
inline int64_t PssBytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::string word;
  while (file >> word) {
    if (word != "Pss:") continue;
    int64_t kibibytes = 0;
    file >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

}  // namespace darkroom::testing
