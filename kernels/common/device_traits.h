#pragma once

namespace darkroom::kernels {

// What a configuration depends on beside the arguments.
struct DeviceTraits {
  int compute_capability = 80;  // 10 * major + minor
  int multiprocessors = 108;
};

}  // namespace darkroom::kernels
