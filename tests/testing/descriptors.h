#pragma once

#include <dirent.h>

namespace darkroom::testing {

// Descriptors that this process has open, for tests of leaks.
inline int OpenDescriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return -1;
  int count = 0;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  ::closedir(directory);
  return count - 1;  // the directory's own
}

}  // namespace darkroom::testing
