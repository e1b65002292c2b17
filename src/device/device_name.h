#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace darkroom {

// Which device a worker computes on, as configurations and flags name it: "cpu", or "cuda:N" for
// the N-th GPU that CUDA sees.
struct DeviceName {
  enum class Kind { kCpu, kCuda };

  Kind kind = Kind::kCpu;
  int index = 0;  // of the GPU, 0 to kCudaDevicesMax - 1
};

// INVALID_ARGUMENT (INVALID_DEVICE) that says what is allowed.
absl::StatusOr<DeviceName> ParseDeviceName(const std::string& text);

}  // namespace darkroom
